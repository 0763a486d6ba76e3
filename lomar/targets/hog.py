"""Histograms of oriented gradients (HOG), the target of MaskFeat (arXiv 2112.09133)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lomar.models.targets import TARGETS, InputFormat, Target
from lomar.utils import check_least

CHUNK = 32  # images at a time, which limits the memory
EPSILON = 1e-5  # in the norm, as in scikit-image


@TARGETS.register_module()
class HOGTarget(Target):
    """Target with histograms of gradient directions per channel, normalized per cell.

    Values equal `skimage.feature.hog(channel, orientations, (cell, cell), (1, 1), 'L2')` of the
    whole image: unsigned directions, hard bins, no gradient across the image border. The histograms
    are computed from denormalized pixels.

    Args:
        orientations: number of bins over 180 degrees.
        cell: side of a cell in pixels; a divisor of the patch size.
    """

    def __init__(self, inputs: InputFormat, orientations: int = 9, cell: int = 8):
        super().__init__(inputs)
        check_least('head.target', orientations=orientations, cell=cell)
        if orientations > 180:
            raise ValueError(f'head.target.orientations is {orientations}; allowed: 1 to 180')
        if inputs.patch_size % cell:
            raise ValueError(
                f'head.target.cell is {cell}; allowed: divisors of backbone.patch_size='
                f'{inputs.patch_size}'
            )
        self.orientations, self.cell = orientations, cell
        self.dim = inputs.in_channels * orientations * (inputs.patch_size // cell) ** 2

    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return targets (B, N, dim) in the order channel, cell row, cell column, bin."""
        chunks = zip(*(each.split(CHUNK) for each in (images, rows, columns)), strict=True)
        return torch.cat([self._histograms(self._cut(*chunk)) for chunk in chunks])

    def _cut(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return denormalized patches with a border of one pixel: (B, N, C, P + 2, P + 2)."""
        size = self.inputs.patch_size
        around = torch.arange(-1, size + 1, device=images.device)
        # By reflection, both neighbours of a border pixel are equal, so that its gradient is 0.
        down, across = (
            last - (last - (place[..., None] * size + around).abs()).abs()
            for place, last in ((rows, images.shape[2] - 1), (columns, images.shape[3] - 1))
        )
        image = torch.arange(len(images), device=images.device)[:, None, None, None]
        patches = images[image, :, down[..., :, None], across[..., None, :]].movedim(-1, 2)
        dtype = torch.promote_types(patches.dtype, torch.float32)
        return self.normalisation.undo(patches.to(dtype))

    def _histograms(self, patches: Tensor) -> Tensor:
        down = patches[..., 2:, 1:-1] - patches[..., :-2, 1:-1]
        across = patches[..., 1:-1, 2:] - patches[..., 1:-1, :-2]
        angle = torch.atan2(down, across).remainder_(math.pi)
        bins = angle.mul_(self.orientations / math.pi).clamp_max_(self.orientations - 1).byte()
        magnitude, bins = torch.hypot(down, across).flatten(0, 1), bins.flatten(0, 1)
        # Sum bin by bin, because sums by `scatter_add` on a GPU are not deterministic.
        votes = (magnitude * (bins == i) for i in range(self.orientations))
        histograms = torch.stack([F.avg_pool2d(each, self.cell) for each in votes], dim=-1)
        norm = histograms.square().sum(dim=-1, keepdim=True).add(EPSILON**2).sqrt()
        return (histograms / norm).unflatten(0, patches.shape[:2]).flatten(2)
