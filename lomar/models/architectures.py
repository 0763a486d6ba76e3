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


def window_sizes(
    depth: int, window_size: int, global_blocks: Sequence[int], with_cls_token: bool
) -> list[int]:
    """Return the window size of every block; 0 = global attention."""
    check_least('backbone', 0, window_size=window_size)
    if window_size and with_cls_token:
        raise ValueError(
            f'backbone.window_size is {window_size}, and a cls token belongs to no window; '
            'allowed with backbone.with_cls_token=False'
        )
    blocks = range(depth)
    known = isinstance(global_blocks, Sequence) and all(b in blocks for b in global_blocks)
    if not known or (global_blocks and not window_size):
        raise ValueError(
            f'backbone.global_blocks is {global_blocks}; allowed: 0 to {depth - 1}, in a '
            'list, and only with backbone.window_size'
        )
    return [0 if block in global_blocks else window_size for block in blocks]


def resolve_out_indices(out_indices: Sequence[int], depth: int, out_type: str) -> tuple[int, ...]:
    """Return the blocks whose output is returned; by default only the last one."""
    last = depth - 1
    found = tuple(out_indices) if isinstance(out_indices, Sequence) else (None,)
    if not found:
        return (last,)
    # Blocks after the last output would have no gradients, which distributed training refuses.
    if found != tuple(sorted(set(found) & {*range(depth)})) or found[-1] != last:
        raise ValueError(
            f'backbone.out_indices is {out_indices}; allowed: a list of blocks from 0 to {last}, '
            f'rising, the last one {last}'
        )
    if out_type not in ('featmap', 'raw'):
        raise ValueError(
            f"backbone.out_indices is {out_indices}, and backbone.out_type is '{out_type}'; "
            'allowed: featmap, raw'
        )
    return found


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
