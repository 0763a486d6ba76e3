"""GPU tests and benchmarks within a time limit: `make gpu`."""
