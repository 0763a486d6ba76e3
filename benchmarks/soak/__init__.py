"""Memory, open files and processes of long trainings."""
