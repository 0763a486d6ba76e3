"""Feature pyramid from the last map of a plain backbone (ViTDet, arXiv 2203.16527, section 3)."""

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from lomar.utils import check_flags, check_least

# LayerNorm over channels, for `norm_cfg` of convolutional heads.
MODELS.register_module('LayerNorm2d', module=LayerNorm2d)


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """Neck that scales one map by deconvolutions and pooling, with detectron2's layers.

    Args:
        in_channels: number of channels of the backbone's map, C.
        out_channels: number of channels of every level.
        scales: resolution of each level relative to the map; any of 4, 2, 1, 0.5, in this order.
        extra_pool: add a level with every second pixel of the last level.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        extra_pool: bool = True,
    ):
        super().__init__()
        check_least('neck', in_channels=in_channels, out_channels=out_channels)
        check_flags('neck', extra_pool=extra_pool)
        if (
            not isinstance(scales, Sequence)
            or not scales
            or list(scales) != sorted(set(scales) & {4, 2, 1, 0.5}, reverse=True)
        ):
            raise ValueError(f'neck.scales is {scales}; allowed: 4, 2, 1 and 0.5, falling')
        self.levels: Any = nn.ModuleList(  # of nn.Sequential; the type cannot express this
            nn.Sequential(
                *_resample(in_channels, scale),
                # Upsampling by 2 halves the channels, upsampling by 4 quarters them.
                nn.Conv2d(int(in_channels / max(scale, 1)), out_channels, 1, bias=False),
                LayerNorm2d(out_channels, eps=1e-6),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                LayerNorm2d(out_channels, eps=1e-6),
            )
            for scale in scales
        )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.scales, self.extra_pool = tuple(scales), extra_pool
        self.num_levels = len(scales) + extra_pool

    def level_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return height and width of each level for a map of a height and a width."""
        sizes = [(int(height * scale), int(width * scale)) for scale in self.scales]
        last = [((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2)] if self.extra_pool else []
        return sizes + last

    def strides(self, patch_size: int) -> list[float]:
        """Return the stride of each level in pixels, for a map of patches of a size in pixels."""
        found = [patch_size / scale for scale in self.scales]
        found += [2 * found[-1]] * self.extra_pool
        return [int(stride) if stride.is_integer() else stride for stride in found]

    def forward(self, inputs: tuple[Tensor]) -> tuple[Tensor, ...]:
        """Return the levels of the backbone's last map (B, C, H, W), finest level first.

        Levels have the dtype of the weights, which is float32 also under mixed precision. mmdet
        casts RoI coordinates to the dtype of the levels; bf16 would round a coordinate near 1000 to
        multiples of 4 pixels. Levels are contiguous, because heads such as DINO's call `view`;
        LayerNorm2d permutes its output.
        """
        if (channels := inputs[-1].shape[1]) != self.in_channels:
            raise ValueError(
                f'neck.in_channels is {self.in_channels}, but the backbone has {channels} channels;'
                f' allowed: {channels}'
            )
        levels = [level(inputs[-1]).to(level[-1].weight.dtype) for level in self.levels]
        if self.extra_pool:
            levels.append(levels[-1][..., ::2, ::2])
        return tuple(level.contiguous() for level in levels)


def _resample(channels: int, scale: float) -> list[nn.Module]:
    if scale == 1:
        return []
    if scale == 0.5:
        return [nn.MaxPool2d(2)]
    once: list[nn.Module] = [nn.ConvTranspose2d(channels, channels // 2, 2, stride=2)]
    if scale == 2:
        return once
    return [
        *once,
        LayerNorm2d(channels // 2, eps=1e-6),
        nn.GELU(),
        nn.ConvTranspose2d(channels // 2, channels // 4, 2, stride=2),
    ]
