"""Named architectures of vision transformers, and checks of backbone settings."""

from collections.abc import Sequence

from lomar.utils import check_choice

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


def resolve_arch(arch: str | dict) -> dict:
    """Return the settings of a named architecture, or the given dict after a check of its keys."""
    if isinstance(arch, str):
        check_choice('backbone.arch', arch, ARCHS)
        return ARCHS[arch]
    needed, known = {'embed_dim', 'depth', 'num_heads'}, {'mlp_ratio'}
    if not needed <= set(arch) <= needed | known:
        raise ValueError(
            f'backbone.arch has the keys {sorted(arch)}; allowed: {sorted(needed)} and mlp_ratio'
        )
    if arch['embed_dim'] % arch['num_heads']:
        raise ValueError(
            f'backbone.arch.embed_dim is {arch["embed_dim"]}; allowed: multiples of '
            f'backbone.arch.num_heads={arch["num_heads"]}'
        )
    return arch


def check_position(
    position: str, with_cls_token: bool, pretrain_img_size: int | tuple[int, int] | None
) -> None:
    """Check the position encoding and the settings that depend on this encoding."""
    check_choice('backbone.position', position, POSITIONS)
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
