"""Names of a vision transformer's weights in the projects that this package exchanges them with.

In between stand timm's names, and for LoMaR's pretraining `mask_token` and `head.pred.*`.
"""

import re
from collections.abc import Iterable

from lomar.checkpoints.transfer import FROM_MMPRETRAIN

SOURCES = ('official', 'mae', 'mmpretrain', 'timm', 'lomar')
TARGETS = ('lomar', 'backbone', 'classifier', 'timm', 'detectron2')

_READ = {
    'official': ((r'^encoder_pred\.', 'head.pred.'),),
    'mae': (),
    'mmpretrain': (
        (r'^backbone\.', ''),
        *FROM_MMPRETRAIN,
        (r'^head\.(fc|layers\.head)\.', 'head.'),
    ),
    'timm': (),
    'lomar': ((r'^backbone\.', ''), (r'^head\.fc\.', 'head.')),
}
_WRITE = {
    'lomar': ((r'^(?!head\.)', 'backbone.'),),
    'backbone': (),
    'classifier': ((r'^(?!head\.)', 'backbone.'), (r'^head\.', 'head.fc.')),
    'timm': (),
    'detectron2': ((r'^', 'backbone.net.'),),
}
# What tells a project's names, and what they never hold.
_SIGNS = {
    'official': (r'^blocks\.\d+\.attn\.rpe_', r'^backbone\.'),
    'mae': (r'^blocks\.\d+\.attn\.qkv', r'\.rpe_|^backbone\.'),
    'mmpretrain': (r'^(backbone\.)?layers\.\d+\.ln1', r'^(backbone\.)?blocks\.'),
    'timm': (r'^blocks\.\d+\.attn\.qkv', r'^backbone\.'),
    'lomar': (r'^(backbone\.)?blocks\.\d+\.attn\.qkv', r'^encoder_pred\.'),
}
_PRETRAINING = (r'^(mask_token$|head\.pred\.)', 'only for pretraining')
_CLASSES = (r'^head\.(weight|bias)$', 'classification head')
_UNREAD = {
    'official': ((r'^pos_embed$', 'the original code never adds it'),),
    'mae': ((r'^(mask_token$|decoder_)', 'decoder of the pretraining'),),
    'mmpretrain': ((r'^neck\.', 'decoder of the pretraining'),),
}
_UNWRITTEN = {
    'backbone': (_PRETRAINING, _CLASSES),
    'classifier': (_PRETRAINING,),
    'timm': (_PRETRAINING,),
    'detectron2': (_CLASSES, (r'^(cls_token|norm\.\w+|fc_norm\.\w+)$', 'not in a ViTDet')),
}


def sources_of(names: Iterable[str]) -> list[str]:
    """Sources whose names these may be."""
    names = list(names)
    return [
        source
        for source, (needed, never) in _SIGNS.items()
        if any(re.search(needed, name) for name in names)
        and not any(re.search(never, name) for name in names)
    ]


def read_name(source: str, name: str) -> str:
    """A source's name in timm's terms."""
    return _renamed(name, _READ[source])


def write_name(target: str, name: str) -> str:
    """A name in timm's terms as the target calls it."""
    return _renamed(name, _WRITE[target])


def why_unread(source: str, name: str) -> str | None:
    """Why a weight of the source, by its own name, is left out; None if it is not."""
    return _reason(name, _UNREAD.get(source, ()))


def why_unwritten(target: str, name: str) -> str | None:
    """Why a weight, by timm's name, is not for the target; None if it is."""
    return _reason(name, _UNWRITTEN.get(target, ()))


def _renamed(name: str, rules: tuple) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _reason(name: str, rules: tuple) -> str | None:
    return next((reason for pattern, reason in rules if re.search(pattern, name)), None)
