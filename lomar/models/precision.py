"""Float32 under mixed precision, for whatever is ranked, compared or thresholded afterwards.

bf16 has 8 significant bits: of the scores of 1000 proposals about 50 are distinct, and the order
among equal ones is arbitrary.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from mmengine.registry import MODELS
from torch import Tensor, nn


def full_precision(images: Tensor) -> AbstractContextManager:
    """Turn mixed precision off on the device of `images`; the meta device has none."""
    return nullcontext() if images.is_meta else torch.autocast(images.device.type, enabled=False)


@MODELS.register_module()
class Float32Linear(nn.Linear):
    """Linear layer that computes in the type of its weights, with or without autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        with full_precision(x):
            return super().forward(x.to(self.weight.dtype))


@MODELS.register_module()
class Float32Conv2d(nn.Conv2d):
    """Convolution that computes in the type of its weights, with or without autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H', W')."""
        with full_precision(x):
            return super().forward(x.to(self.weight.dtype))
