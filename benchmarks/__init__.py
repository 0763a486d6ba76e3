"""Benchmarks, each beside the results that it wrote. See benchmarks/README.md."""
