"""Benchmark of detection in tiles against detection in whole images."""
