"""Float32 layers under mixed precision, for predictions that are ranked or thresholded.

bf16 has 8 significant bits. Among the scores of 1000 proposals only about 50 are distinct, and the
order of equal scores is arbitrary.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


def full_precision(images: Tensor) -> AbstractContextManager:
    """Return a context without autocast on the device of `images`; a null context on meta."""
    return nullcontext() if images.is_meta else torch.autocast(images.device.type, enabled=False)


@MODELS.register_module()
class Float32Linear(nn.Linear):
    """Linear layer that computes in the dtype of its weights, even under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        with full_precision(x):
            return super().forward(x.to(self.weight.dtype))


@MODELS.register_module()
class Float32Conv2d(nn.Conv2d):
    """Convolution that computes in the dtype of its weights, even under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H', W')."""
        with full_precision(x):
            return super().forward(x.to(self.weight.dtype))
