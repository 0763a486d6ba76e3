"""Transfer of pretrained weights to a backbone, with resizing and a report of every weight."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

from timm.layers import resample_patch_embed
from timm.models import adapt_input_conv
from torch import Tensor, nn

from lomar.checkpoints.names import PATCHES, rename, unused
from lomar.models.absolute_positions import LearnedPositions, resize_positions

# Weights of the pretraining and of other tasks, which a backbone does not need.
LEFT_OUT = ('mask_token', 'cls_token', 'norm.*', 'fc_norm.*', 'head.*')
# Parameters that only detectors have; they are zero at the start and change no output.
NEW = ('*.rpe_k.rel_pos_?', 'fc_norm.*')
# Advice by pattern of unexpected weights; the first that matches is given.
HINTS = {
    # The first number of a shape is the width.
    rf'^{PATCHES} \((\d+), .* -> \((?!\1,)': 'The weights are of an encoder of another width: set '
    'backbone.arch to theirs (and neck.in_channels of a detector to its width).\n',
    '^pos_embed$': 'The weights were trained with absolute positions: use '
    "backbone.position='absolute' or 'absolute+decomposed'.\n",
    '^pos_embed ': 'The absolute positions are not of a square grid, and only those are resized: '
    'set backbone.pretrain_img_size to the (height, width) of the pretraining.\n',
    'lookup_table': "The weights were trained with iRPE: use backbone.position='irpe'.\n",
    f'^{PATCHES}': 'The weights have another number of channels. Only 3 channels are adapted to '
    'other numbers: set backbone.in_channels to that of the weights, or pretrain with the channels '
    'of the images.\n',
}


class TransferError(ValueError):
    """Error for weights that do not fit the model; the message contains the report."""


@dataclass
class Report:
    """Names of weights, grouped by how the transfer treated each weight.

    Attributes:
        matched: weights that were loaded unchanged.
        resized: weights that were loaded after a resize, with both shapes.
        missing: parameters of the model that keep their initial values.
        left_out: weights of known kinds that the model does not have.
        unexpected: other weights that the model does not have.
    """

    matched: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = []
        for kind, names in vars(self).items():
            blocks = dict.fromkeys(re.sub(r'^blocks\.\d+', 'blocks.*', name) for name in names)
            shown = ', '.join(list(blocks)[:6]) if kind != 'matched' else ''
            lines.append(f'  {kind.replace("_", " "):<10} {len(names):>4}  {shown}'.rstrip())
        return '\n'.join(lines)


def transfer_backbone(
    state_dict: dict[str, Tensor], backbone: nn.Module, allow: Sequence[str] = ()
) -> Report:
    """Load pretrained weights into an `RPEViT` or a `lomar_vit_*` and return a report.

    Absolute positions are resized to the grid of `pretrain_img_size`. Positions for the grid of
    `img_size` are kept unchanged. The patch embedding is resized to the backbone's patch size.
    A patch embedding of 3 channels is adapted to another number by timm's rule: summed for one
    channel, otherwise repeated and scaled.

    Args:
        allow: patterns of names that may be missing or unexpected.

    Raises:
        TransferError: a weight of the backbone was not loaded, or a loaded weight is unexpected.
    """
    weights, report = rename(state_dict), Report()
    if isinstance(backbone, LearnedPositions):
        backbone.adopt_positions(weights.get('pos_embed'))
    own, never = backbone.state_dict(), unused(weights)
    loaded = {}
    for name, value in weights.items():
        place = None if name in never else own.get(name)
        if place is None:
            known = name in never or _matches(name, (*LEFT_OUT, *allow))
            (report.left_out if known else report.unexpected).append(name)
            continue
        fitted = _fit(name, value, place, backbone)
        shapes = f'{tuple(value.shape)} -> {tuple(place.shape)}'
        if fitted.shape != place.shape:
            known = _matches(name, allow)
            (report.left_out if known else report.unexpected).append(f'{name} {shapes}')
        elif fitted.shape != value.shape:
            report.resized.append(f'{name} {shapes}{_channel_change(name, value, place)}')
            loaded[name] = fitted
        else:
            report.matched.append(name)
            loaded[name] = fitted
    report.missing = [name for name in own if name not in loaded]
    backbone.load_state_dict(loaded, strict=False)
    lost = [name for name in report.missing if not _matches(name, (*NEW, *allow))]
    if lost or report.unexpected:
        raise TransferError(_explain(report, lost))
    return report


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _fit(name: str, value: Tensor, place: Tensor, backbone: nn.Module) -> Tensor:
    """Resize absolute positions or the patch embedding to the shape of the parameter `place`."""
    if name == 'pos_embed' and isinstance(backbone, LearnedPositions):
        return _fit_positions(value, place, backbone)
    if name == PATCHES:
        if value.shape[2:] != place.shape[2:]:
            value = resample_patch_embed(value, list(place.shape[2:]))
        if value.shape[1] == 3:  # the only number of channels that timm's rule starts from
            value = adapt_input_conv(place.shape[1], value)
    return value


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


def _channel_change(name: str, value: Tensor, place: Tensor) -> str:
    if name != PATCHES or value.shape[1] == place.shape[1]:
        return ''
    return f" (channels {value.shape[1]} -> {place.shape[1]} by timm's rule)"


def _explain(report: Report, lost: list[str]) -> str:
    signs = (sign for sign in HINTS if any(re.search(sign, name) for name in report.unexpected))
    hint = HINTS.get(next(signs, ''), '')
    return (
        f'the pretrained weights do not fit the backbone: {len(lost)} of its weights did not load, '
        f'{len(report.unexpected)} are unexpected.\n{report}\n{hint}'
        'Name another file, or the patterns that may be left over in transfer=dict(allow=[...]).'
    )
