"""Modules that are exported: raw pixels in, a dict of named tensors out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lomar.encoder import Encoder


class RawPixels(nn.Module):
    """Module that normalizes pixels and passes them to another module.

    Args:
        inner: module from normalized images (B, C, H, W) to a dict of tensors.
        mean, std: one number per channel, in the unit of the pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, inner: nn.Module, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.inner = inner
        for name, values in (('mean', mean), ('std', std)):
            numbers = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, numbers)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the named outputs for images (B, C, H, W) float32 in the unit of files."""
        return self.inner((images - self.mean) / self.std)


class EncoderGraph(nn.Module):
    """Features of `lomar.Encoder`."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.backbone, self.fc_norm = encoder.backbone, encoder.fc_norm

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `pooled` (B, D) and `patches` (B, D, H/P, W/P)."""
        (maps,) = self.backbone(images)
        return dict(pooled=self.fc_norm(maps.mean(dim=(2, 3))), patches=maps)


class ClassifierGraph(nn.Module):
    """Logits of a classifier of mmpretrain."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `logits` (B, classes)."""
        return dict(logits=self.model(images))


class FeaturesGraph(nn.Module):
    """Maps of the backbone and of the neck of a detector of mmdet."""

    def __init__(self, detector: Any):
        super().__init__()
        self.backbone = detector.backbone
        self.neck = getattr(detector, 'neck', None)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return `backbone` (B, D, h, w), its last map, and the neck's `level_0`, `level_1` ..."""
        maps = self.backbone(images)
        levels = () if self.neck is None else self.neck(maps)
        return dict(backbone=maps[-1]) | {f'level_{i}': level for i, level in enumerate(levels)}
