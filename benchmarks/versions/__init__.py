"""Quick tests in environments of other versions."""
