"""Named architectures of vision transformers, and checks of backbone settings."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch

from lomar.utils import check_choice, check_least, check_number

ARCHS = {
    'tiny': dict(embed_dim=192, depth=12, num_heads=3),
    'small': dict(embed_dim=384, depth=12, num_heads=6),
    'base': dict(embed_dim=768, depth=12, num_heads=12),
    'large': dict(embed_dim=1024, depth=24, num_heads=16),
    'huge': dict(embed_dim=1280, depth=32, num_heads=16),
}
OUT_TYPES = ('avg_featmap', 'cls_token', 'featmap', 'raw')
POSITIONS = ('irpe', 'absolute', 'absolute+decomposed')


def as_size(name: str, size: int | tuple[int, int]) -> tuple[int, int]:
    """Return `size` as (height, width) in pixels."""
    pair = (size, size) if isinstance(size, int) else size
    if (
        not isinstance(pair, Sequence)
        or len(pair) != 2
        or any(type(side) is not int for side in pair)
    ):
        raise ValueError(f'backbone.{name} is {size!r}; allowed: an integer, or (height, width)')
    return pair[0], pair[1]


def resolve_arch(arch: str | dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a named architecture, or the given dict after a check of its keys."""
    if not isinstance(arch, dict):
        check_choice('backbone.arch', arch, ARCHS)
        return ARCHS[arch]
    needed, known = {'embed_dim', 'depth', 'num_heads'}, {'mlp_ratio'}
    if not needed <= set(arch) <= needed | known:
        raise ValueError(
            f'backbone.arch has the keys {sorted(arch)}; allowed: {sorted(needed)} and mlp_ratio'
        )
    check_least('backbone.arch', **{key: arch[key] for key in sorted(needed)})
    check_number('backbone.arch.mlp_ratio', arch.get('mlp_ratio', 4), 1 / arch['embed_dim'])
    if arch['embed_dim'] % arch['num_heads']:
        raise ValueError(
            f'backbone.arch.embed_dim is {arch["embed_dim"]}; allowed: multiples of '
            f'backbone.arch.num_heads={arch["num_heads"]}'
        )
    return arch


def check_position(
    position: str,
    with_cls_token: bool,
    pretrain_img_size: int | tuple[int, int] | None,
    rpe: dict | None,
) -> None:
    """Check the position encoding and the settings that depend on this encoding."""
    check_choice('backbone.position', position, POSITIONS)
    if rpe and position != 'irpe':
        raise ValueError(
            f"backbone.rpe is {rpe}, and backbone.position='{position}' has no iRPE; allowed: None"
        )
    if position == 'irpe' and pretrain_img_size is not None:
        raise ValueError(
            f'backbone.pretrain_img_size is {pretrain_img_size}, but iRPE needs no size; '
            "allowed with backbone.position='absolute' or 'absolute+decomposed'"
        )
    if position == 'absolute+decomposed' and with_cls_token:
        raise ValueError(
            "backbone.position is 'absolute+decomposed', which has no offset for a cls token; "
            'allowed with backbone.with_cls_token=False'
        )


def check_compiled(compiled: bool | dict) -> None:
    """Raise a ValueError unless `compiled` is a flag, or options of `torch.compile`."""
    known = signature(torch.compile).parameters.keys() - {'model'}
    if not isinstance(compiled, bool) and not (
        isinstance(compiled, dict) and compiled.keys() <= known
    ):
        raise ValueError(
            f'backbone.compiled is {compiled!r}; allowed: True, False, or a dict of '
            f'{", ".join(sorted(known))}'
        )
