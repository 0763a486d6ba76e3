"""Images per second, FLOPs and memory of a training step or of inference."""

import lomar.register  # noqa: F401
