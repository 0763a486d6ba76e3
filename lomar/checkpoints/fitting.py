"""Resizing of pretrained weights to the shapes of a model: positions and patch embedding."""

import math

from timm.layers import resample_patch_embed
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torch.nn.functional import interpolate

from lomar.checkpoints.names import PATCHES
from lomar.models.absolute_positions import LearnedPositions, resize_positions


def fit(name: str, value: Tensor, place: Tensor, model: nn.Module | None = None) -> Tensor:
    """Return a weight in the shape of the parameter `place`; unchanged if there is no rule for it.

    Args:
        name: timm's name of the weight.
        model: the backbone; None for weights outside of it.
    """
    if value.shape == place.shape or value.ndim != place.ndim:
        return value
    if name == 'pos_embed' and isinstance(model, LearnedPositions):
        return _fit_positions(value, place, model)
    if name in ('pos_embed', 'decoder_pos_embed'):
        return _fit_square(value, place)
    if name.endswith(('.rel_pos_h', '.rel_pos_w')):
        return _fit_decomposed(value, place)
    if name == PATCHES:
        if value.shape[2:] != place.shape[2:]:
            value = resample_patch_embed(value, list(place.shape[2:]))
        if value.shape[1] == 3:  # the only number of channels that timm's rule starts from
            value = adapt_input_conv(place.shape[1], value)
    return value


def channel_change(name: str, value: Tensor, place: Tensor) -> str:
    """Return a remark about a patch embedding that was adapted to other channels, or ''."""
    if name != PATCHES or value.shape[1] == place.shape[1]:
        return ''
    return f" (channels {value.shape[1]} -> {place.shape[1]} by timm's rule)"


def _fit_positions(table: Tensor, place: Tensor, backbone: LearnedPositions) -> Tensor:
    """Resize absolute positions of a square grid; keep others, which must have the model's grid."""
    count, length, with_cls_token = table.shape[1], place.shape[1], int(backbone.with_cls_token)
    side = math.isqrt(count)
    prefix = int(side**2 != count)
    if side**2 + prefix != count or prefix < with_cls_token:
        extra = count - length
        return table[:, extra:] if extra in (0, 1 - with_cls_token) else table
    if prefix > with_cls_token:
        table, prefix = table[:, 1:], 0
    grid = backbone.position_grid(length)
    assert grid is not None  # of the backbone's own table
    return resize_positions(table, grid, (side, side), prefix)


def _fit_square(table: Tensor, place: Tensor) -> Tensor:
    """Resize positions (1, 1 + L, D) between square grids, both with a cls token, as MAE's are."""
    sides = [math.isqrt(each.shape[1] - 1) for each in (table, place)]
    if [side**2 + 1 for side in sides] != [table.shape[1], place.shape[1]] or not all(sides):
        return table
    old, new = ((side, side) for side in sides)
    return resize_positions(table, new, old, 1)


def _fit_decomposed(table: Tensor, place: Tensor) -> Tensor:
    """Resize decomposed relative positions (2 K - 1, D) linearly, as detectron2 does."""
    if table.shape[1] != place.shape[1]:
        return table
    stretched = interpolate(table.float().T[None], size=len(place), mode='linear')
    return stretched[0].T.to(table.dtype)
