"""Transfer of pretrained weights to a model, with resizing and a report of every weight."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

from torch import Tensor, nn

from lomar.checkpoints.fitting import channel_change, fit
from lomar.checkpoints.names import PATCHES, check_format, rename, timm_names, unused
from lomar.models.absolute_positions import LearnedPositions

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
    "backbone.position='absolute' or 'absolute+decomposed' (RPEViT; LoMaRViT has iRPE only).\n",
    '^pos_embed ': 'The absolute positions are not of a square grid, or have no cls token although '
    'the model has one: set backbone.pretrain_img_size to the (height, width) of the pretraining, '
    'or backbone.with_cls_token=False.\n',
    r'lookup_table\S* \(': 'The weights were trained with other options of iRPE: set backbone.rpe '
    'to the options of their training (method, ratio, mode, shared_heads).\n',
    'lookup_table': "The weights were trained with iRPE: use backbone.position='irpe', and in "
    'backbone.rpe the options of their training (RPEViT, LoMaRViT; MAEViT has no iRPE).\n',
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
        missing: parameters of the backbone that keep their initial values.
        left_out: weights of known kinds that the model does not have.
        unexpected: other weights that the model does not have.
        others: weights outside of the backbone that were loaded.
        new: parameters outside of the backbone that keep their initial values, with both shapes if
            the file has a weight of this name.
    """

    matched: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = []
        for kind, names in vars(self).items():
            if names or kind not in ('others', 'new'):
                shown = '' if kind == 'matched' else _shown(names, kind in ('others', 'new'))
                lines.append(f'  {kind.replace("_", " "):<10} {len(names):>4}  {shown}'.rstrip())
        return '\n'.join(lines)

    @property
    def loaded(self) -> str:
        """Return which parts of the model were loaded."""
        if not self.others:
            return 'Backbone'
        every = len(self.others) + len(self.new)
        return f'Backbone and {len(self.others)} of {every} other weights'

    @property
    def misfits(self) -> list[str]:
        """Return the parameters outside of the backbone that the file has in another shape."""
        return [name for name in self.new if ' ' in name]


def _shown(names: list[str], modules: bool) -> str:
    """Return at most six names, those with shapes first; of many, only the modules."""
    short = []
    for name in sorted(names, key=lambda name: ' ' not in name) if modules else names:
        if modules and len(names) > 6 and ' ' not in name:
            name = '.'.join(name.split('.')[:2])
        short.append(re.sub(r'^blocks\.\d+', 'blocks.*', name))
    return ', '.join(list(dict.fromkeys(short))[:6])


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
        ValueError: the weights are in the format of Hugging Face transformers.
    """
    if isinstance(allow, str):  # whose characters would be patterns, '*' among them
        raise ValueError(f"transfer.allow is '{allow}'; allowed: a list of patterns, ['{allow}']")
    weights, report = rename(state_dict), Report()
    if isinstance(backbone, LearnedPositions):
        backbone.adopt_positions(weights.get('pos_embed'))
    state, never = backbone.state_dict(), unused(weights)
    check_format(weights, state)
    places = {new: name for name, new in timm_names(state).items()}
    loaded = {}
    for name, value in weights.items():
        place = None if name in never or name not in places else state[places[name]]
        if place is None:
            known = name in never or _matches(name, (*LEFT_OUT, *allow))
            (report.left_out if known else report.unexpected).append(name)
            continue
        fitted = fit(name, value, place, backbone)
        shapes = f'{name} {_shapes(value, place)}'
        if fitted.shape != place.shape:
            known = _matches(name, allow)
            (report.left_out if known else report.unexpected).append(shapes)
        elif fitted.shape != value.shape:
            report.resized.append(f'{shapes}{channel_change(name, value, place)}')
            loaded[places[name]] = fitted
        else:
            report.matched.append(name)
            loaded[places[name]] = fitted
    report.missing = [name for name, own in places.items() if own not in loaded]
    backbone.load_state_dict(loaded, strict=False)
    lost = [name for name in report.missing if not _matches(name, (*NEW, *allow))]
    if lost or report.unexpected:
        raise TransferError(_explain(report, lost))
    return report


def transfer_model(
    state_dict: dict[str, Tensor], model: nn.Module, allow: Sequence[str] = ()
) -> Report:
    """Load a checkpoint of any task into a model with a `backbone` and return a report.

    The backbone is loaded by `transfer_backbone`. Outside of it, in a neck or head, a layer is
    loaded if it has the same name and shapes in the file. Such layers are those of the same task.
    All other layers keep their initial values and are in `new` of the report: for example the class
    layers after a change of the classes.

    Raises:
        TransferError: see `transfer_backbone`.
    """
    report = transfer_backbone(state_dict, model.get_submodule('backbone'), allow)
    state = model.state_dict()
    places = {
        new: name for name, new in timm_names(state).items() if not name.startswith('backbone.')
    }
    in_file = {new: state_dict[old] for old, new in timm_names(state_dict).items()}
    weights = {name: value for name, value in in_file.items() if name in places}
    fitted = {name: fit(name, value, state[places[name]]) for name, value in weights.items()}
    misfits = {name for name, value in fitted.items() if value.shape != state[places[name]].shape}
    broken = {_layer(places[name]) for name in misfits}
    loaded = {
        places[name]: value for name, value in fitted.items() if _layer(places[name]) not in broken
    }
    for name, own in places.items():
        changed = f' {_shapes(weights[name], state[own])}' if name in weights else ''
        resized = own in loaded and weights[name].shape != state[own].shape
        if own not in loaded:
            report.new.append(own + (changed if name in misfits else ''))
        else:
            (report.resized if resized else report.others).append(own + changed * resized)
    report.left_out = [name for name in report.left_out if places.get(name) not in loaded]
    listed = {*places, *rename(state_dict)}
    report.left_out += [name for name in in_file if name not in listed]
    model.load_state_dict(loaded, strict=False)
    return report


def _layer(name: str) -> str:
    """Return the name of the layer of a weight or bias; the name itself of another parameter."""
    layer, _, kind = name.rpartition('.')
    return layer if kind in ('weight', 'bias') else name


def _shapes(value: Tensor, place: Tensor) -> str:
    return f'{tuple(value.shape)} -> {tuple(place.shape)}'


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)


def _explain(report: Report, lost: list[str]) -> str:
    signs = (sign for sign in HINTS if any(re.search(sign, name) for name in report.unexpected))
    hint = HINTS.get(next(signs, ''), '')
    return (
        f'the pretrained weights do not fit the backbone: {len(lost)} of its weights did not load, '
        f'{len(report.unexpected)} are unexpected.\n{report}\n{hint}'
        'Name another file, or the patterns that may be left over in transfer=dict(allow=[...]).'
    )
