"""FLOPs of a training step, and hours of a training run."""
