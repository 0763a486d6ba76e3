"""Tests, and the comparison of the configs with the official settings in `tests.recipes`."""
