"""What a vision transformer looks like, read from the names and shapes of its weights."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from lomar.models.architectures import ARCHS
from lomar.models.rpe import num_buckets
from lomar.models.vit import RPEViT

LOMAR_RPE = dict(method='product', ratio=1.9)


@dataclass(frozen=True)
class Architecture:
    """Settings of an encoder and of the head on top.

    Attributes:
        num_heads: None where the weights do not tell (absolute positions, unknown size).
        position: 'irpe' or 'absolute'.
        norm: 'norm' on the tokens, 'fc_norm' on their mean, or '' for none.
        grid: patches down and across; of absolute positions, else any that holds a window.
        classes: outputs of the classification head, 0 = no head.
        predicted: values that LoMaR's prediction head gives for a patch, 0 = no pretraining.
    """

    embed_dim: int
    depth: int
    num_heads: int | None
    hidden_dim: int
    patch_size: int
    in_channels: int
    position: str
    cls_token: bool
    norm: str
    grid: tuple[int, int]
    classes: int
    predicted: int

    def __str__(self) -> str:
        head = f'{self.classes} classes' if self.classes else 'no head'
        return (
            f'{self.depth} blocks of width {self.embed_dim}, {self.num_heads or "?"} heads, patch '
            f'{self.patch_size}, {"iRPE" if self.position == "irpe" else "absolute positions"}, '
            f'{"LoMaR pretraining head" if self.predicted else head}'
        )

    @property
    def img_size(self) -> tuple[int, int]:
        """Height and width in pixels of `grid`."""
        return self.grid[0] * self.patch_size, self.grid[1] * self.patch_size

    def backbone(self) -> dict:
        """Arguments of `RPEViT`."""
        return dict(
            arch=dict(
                embed_dim=self.embed_dim,
                depth=self.depth,
                num_heads=self.num_heads or 1,
                mlp_ratio=self.hidden_dim / self.embed_dim,
            ),
            img_size=self.img_size,
            patch_size=self.patch_size,
            in_channels=self.in_channels,
            out_type='avg_featmap' if self.norm == 'fc_norm' else 'raw',
            position=self.position,
            with_cls_token=self.cls_token,
            final_norm=bool(self.norm),
        )

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight that belongs to it, by timm's names."""
        with torch.device('meta'):
            shapes = {k: tuple(v.shape) for k, v in RPEViT(**self.backbone()).state_dict().items()}
        if self.classes:
            shapes |= {'head.weight': (self.classes, self.embed_dim), 'head.bias': (self.classes,)}
        if self.predicted:
            shapes['mask_token'] = (1, 1, self.embed_dim)
            shapes['head.pred.weight'] = (self.predicted, self.embed_dim)
            shapes['head.pred.bias'] = (self.predicted,)
        return shapes


def read_architecture(
    weights: dict[str, Tensor], complete: bool, num_heads: int | None
) -> Architecture:
    """Read the settings of an encoder from its weights by timm's names.

    Sizes are those that most weights agree on, so that a wrong one stands out against `shapes`.

    Args:
        complete: whether the source's models always have a cls token and a norm.
        num_heads: of an encoder with absolute positions, whose weights do not tell.

    Raises:
        ValueError: no transformer at all, or a number of heads that does not divide the width.
    """
    embed_dim = _common(weights, r'\.(norm[12]\.\w+|attn\.proj\.bias)$', 0)
    blocks = [int(m[1]) for m in map(re.compile(r'^blocks\.(\d+)').match, weights) if m]
    if not embed_dim or not blocks:
        raise ValueError('the weights hold no transformer block with norm1, attn, norm2, mlp')
    depth = 1 + max(blocks)
    hidden_dim = _common(weights, r'\.mlp\.fc1\.\w+$', 0) or 4 * embed_dim
    irpe = any('.rpe_' in name for name in weights)
    if irpe:
        head_dim = _common(weights, r'\.rpe_k\.lookup_table_weight$', 1) or embed_dim
        num_heads = 1 if embed_dim % head_dim else embed_dim // head_dim
    elif num_heads is None:
        num_heads = standard_heads(embed_dim, depth)
    elif num_heads < 1 or embed_dim % num_heads:
        raise ValueError(f'--num-heads is {num_heads}; allowed: divisors of the width {embed_dim}')
    cls_token = complete or 'cls_token' in weights
    patch = weights.get('patch_embed.proj.weight')
    sound = patch is not None and patch.ndim == 4
    patch_size, in_channels = (patch.shape[3], patch.shape[1]) if sound else (16, 3)
    pixels = patch_size**2 * in_channels if 'mask_token' in weights else 0
    return Architecture(
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads,
        hidden_dim=hidden_dim,
        patch_size=patch_size,
        in_channels=in_channels,
        position='irpe' if irpe else 'absolute',
        cls_token=cls_token,
        norm=_norm(weights, complete),
        grid=(7, 9) if irpe else _grid(weights.get('pos_embed'), cls_token),
        classes=next(_sizes(weights, r'^head\.(bias|weight)$', 0), 0),
        # Any number: it is the target's. Pixels where the head is missing, to say so.
        predicted=_common(weights, r'^head\.pred\.\w+$', 0) or pixels,
    )


def _norm(weights: dict[str, Tensor], complete: bool) -> str:
    if any(name.startswith('fc_norm.') for name in weights):
        return 'fc_norm'
    return 'norm' if complete or any(name.startswith('norm.') for name in weights) else ''


def standard_heads(embed_dim: int, depth: int) -> int | None:
    """Return the heads of the named architecture of this width and depth, None if there is none."""
    named = {(arch['embed_dim'], arch['depth']): arch['num_heads'] for arch in ARCHS.values()}
    return named.get((embed_dim, depth))


def _grid(pos_embed: Tensor | None, cls_token: bool) -> tuple[int, int]:
    """Return the grid of a position table, which is square in every project known here.

    Raises:
        ValueError: the table is not of a square grid.
    """
    if pos_embed is None or pos_embed.ndim != 3:
        return 14, 14
    places = pos_embed.shape[1] - cls_token
    side = math.isqrt(max(places, 0))
    if side**2 != places or not side:
        raise ValueError(f'pos_embed has {places} places, which is no square grid')
    return side, side


def _sizes(weights: dict[str, Tensor], pattern: str, axis: int) -> Iterator[int]:
    for name, value in weights.items():
        if re.search(pattern, name) and value.ndim > axis:
            yield value.shape[axis]


def _common(weights: dict[str, Tensor], pattern: str, axis: int) -> int | None:
    counts = Counter(_sizes(weights, pattern, axis)).most_common(1)
    return counts[0][0] if counts else None


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
    depth = 1 + max(int(name.split('.')[1]) for name in weights if name.startswith('blocks.'))
    arch = dict(
        embed_dim=embed_dim,
        depth=depth,
        num_heads=num_heads or _num_heads(tables, embed_dim, depth),
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
    side, _ = _grid(weights['pos_embed'], settings['with_cls_token'])
    return {**settings, 'position': 'absolute', 'img_size': side * patch_size}


def _num_heads(tables: dict[str, Tensor], embed_dim: int, depth: int) -> int:
    for name, table in tables.items():
        if name.endswith('lookup_table_weight'):  # (heads or 1, D / heads, buckets), of v turned
            return embed_dim // table.shape[2 if '.rpe_v.' in name else 1]
        if len(table) > 1:  # of the bias: (heads or 1, buckets)
            return len(table)
    heads = standard_heads(embed_dim, depth)
    if heads is None:
        known = ', '.join(f'{arch["embed_dim"]} x {arch["depth"]}' for arch in ARCHS.values())
        raise ValueError(
            'the shapes of the weights are the same for any number of heads, and no standard model '
            f'has width {embed_dim} and depth {depth} (standard: {known}): give num_heads'
        )
    return heads


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
