"""The architecture of a backbone, read off its weights."""

import re

from torch import Tensor

from lomar.models.rpe import num_buckets
from lomar.models.vit import ARCHS

LOMAR_RPE = dict(method='product', ratio=1.9)


def backbone_settings(
    weights: dict[str, Tensor], num_heads: int | None = None, rpe: dict | None = None
) -> dict:
    """Settings of the `RPEViT` that weights by timm's names belong to, out_type left open.

    Args:
        num_heads: where neither a relative position table nor a width in `ARCHS` tells it.
        rpe: options of `lomar.models.rpe.build_rpe` that the weights do not tell or that differ.

    Raises:
        ValueError: the weights are of no vision transformer or of a detector's, or leave a
            setting open.
    """
    if not {'patch_embed.proj.weight', 'blocks.0.mlp.fc1.weight'} <= weights.keys():
        raise ValueError('these are no weights of a vision transformer')
    final_norm = 'norm.weight' in weights
    if not final_norm and 'fc_norm.weight' not in weights:
        raise ValueError(
            'there is no norm after the last block: these are the weights of a detector, and do '
            'not tell in which windows it attends; allowed: pretraining and classification'
        )
    embed_dim, in_channels, patch_size, _ = weights['patch_embed.proj.weight'].shape
    tables = {name: t for name, t in weights.items() if 'blocks.0.attn.rpe_' in name}
    arch = dict(
        embed_dim=embed_dim,
        depth=1 + max(int(name.split('.')[1]) for name in weights if name.startswith('blocks.')),
        num_heads=num_heads or _num_heads(tables, embed_dim),
        mlp_ratio=weights['blocks.0.mlp.fc1.weight'].shape[0] / embed_dim,
    )
    settings = dict(
        arch=arch,
        patch_size=patch_size,
        in_channels=in_channels,
        with_cls_token='cls_token' in weights,
        final_norm=final_norm,
        img_size=patch_size,
    )
    if tables:
        return dict(**settings, position='irpe', rpe=_rpe(tables, rpe or {}))
    if 'pos_embed' not in weights:
        raise ValueError('the weights have no positions, neither relative nor absolute')
    length = weights['pos_embed'].shape[1] - settings['with_cls_token']
    side = round(length**0.5)
    if side**2 != length:
        raise ValueError(f'pos_embed has {length} places, which is no square grid')
    return {**settings, 'position': 'absolute', 'img_size': side * patch_size}


def _num_heads(tables: dict[str, Tensor], embed_dim: int) -> int:
    for name, table in tables.items():
        if name.endswith('lookup_table_weight'):  # (heads or 1, D / heads, buckets), of v turned
            return embed_dim // table.shape[2 if '.rpe_v.' in name else 1]
        if len(table) > 1:  # of the bias: (heads or 1, buckets)
            return len(table)
    standard = {arch['embed_dim']: arch['num_heads'] for arch in ARCHS.values()}
    if embed_dim not in standard:
        raise ValueError(
            f'the weights do not tell the number of heads, and {embed_dim} is the width of no '
            f'standard model ({", ".join(map(str, standard))}): give num_heads'
        )
    return standard[embed_dim]


def _rpe(tables: dict[str, Tensor], given: dict) -> dict:
    """Options of iRPE; the number of buckets has to agree with method and ratio."""
    name, table = next(iter(tables.items()))
    options = dict(
        LOMAR_RPE,
        on=''.join(sorted({re.search(r'\.rpe_(\w)\.', each)[1] for each in tables})),
        mode='bias' if name.endswith('bias') else 'contextual',
        shared_heads=len(table) == 1,
    )
    if '.rp_rows.' in name or '.rp_cols.' in name:
        options['method'] = 'cross'
    options.update(given)
    buckets = table.shape[1 if '.rpe_v.' in name else -1]
    if buckets != num_buckets(options['method'], options['ratio']):
        raise ValueError(
            f'relative positions with {buckets} buckets are not those of '
            f"method='{options['method']}', ratio={options['ratio']}: give rpe=dict(method=..., "
            'ratio=...) as they were trained'
        )
    return options
