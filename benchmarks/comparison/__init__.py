"""Comparison of LoMaR, MAE and random weights on real images: see docs/comparison.md."""
