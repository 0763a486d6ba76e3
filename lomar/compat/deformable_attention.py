"""Deformable attention in float32 under mixed precision.

mmcv converts sampling locations, which are shares of the image, to the dtype of the values. In bf16
they are rounded by up to 1/512 of the image, 2 pixels of 1024. The compiled operator of mmcv 2.1.0
has no bf16.
"""

from contextlib import nullcontext
from functools import wraps

import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention
from torch import Tensor

forward = MultiScaleDeformableAttention.forward


@wraps(forward)
def full_precision_forward(self: MultiScaleDeformableAttention, *args, **kwargs) -> Tensor:
    """Return mmcv's result, computed in the dtype of the weights without autocast."""
    weight = self.value_proj.weight

    def converted(value):
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(weight.dtype) if is_float else value

    plain = nullcontext() if weight.is_meta else torch.autocast(weight.device.type, enabled=False)
    with plain:
        return forward(
            self,
            *map(converted, args),
            **{name: converted(value) for name, value in kwargs.items()},
        )


def apply() -> None:
    """Replace the forward pass of mmcv's layer."""
    MultiScaleDeformableAttention.forward = full_precision_forward
