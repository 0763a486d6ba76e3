"""Architecture of a vision transformer, read from the names and shapes of its weights."""

import math
import re
from collections import Counter
from dataclasses import dataclass

import torch
from mmengine.logging import print_log
from torch import Tensor

from lomar.checkpoints.names import PATCHES, check_format
from lomar.models.architectures import ARCHS
from lomar.models.rpe import num_buckets
from lomar.models.vit import RPEViT

LOMAR_RPE = dict(method='product', mode='contextual', on='k', ratio=1.9, shared_heads=True)


@dataclass(frozen=True)
class Architecture:
    """Settings of an encoder and of the head on top.

    Attributes:
        backbone: arguments of `RPEViT`; out_type is 'avg_featmap' where there is an `fc_norm`.
        classes: outputs of the classification head; 0 without a head.
        predicted: outputs of LoMaR's prediction head per patch; 0 without this head.
    """

    backbone: dict
    classes: int
    predicted: int

    def __str__(self) -> str:
        arch, head = self.backbone['arch'], f'{self.classes} classes' if self.classes else 'no head'
        return (
            f'{arch["depth"]} blocks of width {arch["embed_dim"]}, {arch["num_heads"]} heads, '
            f'patch {self.backbone["patch_size"]}, '
            f'{"iRPE" if self.backbone["rpe"] else "absolute positions"}, '
            f'{"LoMaR pretraining head" if self.predicted else head}'
        )

    @property
    def fc_norm(self) -> bool:
        """Return whether the model has a norm after mean pooling."""
        return self.backbone['out_type'] == 'avg_featmap'

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every weight of this architecture, by timm's names."""
        with torch.device('meta'):
            shapes = {k: tuple(v.shape) for k, v in RPEViT(**self.backbone).state_dict().items()}
        width = self.backbone['arch']['embed_dim']
        if self.predicted:
            shapes['mask_token'] = (1, 1, width)
        for head, outputs in (('head', self.classes), ('head.pred', self.predicted)):
            if outputs:
                shapes |= {f'{head}.weight': (outputs, width), f'{head}.bias': (outputs,)}
        return shapes


def read_architecture(
    weights: dict[str, Tensor], num_heads: int | None = None, rpe: dict | None = None
) -> Architecture:
    """Return the settings of the encoder, and of the head, that weights by timm's names belong to.

    Sizes are those of most weights, so that a wrong weight differs from its entry in `shapes`.

    Args:
        num_heads: where neither a relative position table nor a size in `ARCHS` tells it.
        rpe: options of `lomar.models.rpe.build_rpe` that the weights do not tell or that differ.

    Raises:
        ValueError: the weights are of no vision transformer or of a detector's, or leave a
            setting open.
    """
    patches, parts = _check_encoder(weights), {name.split('.')[0] for name in weights}
    embed_dim = _common(weights, r'^blocks\.\d+\.(norm[12]\.\w+|attn\.proj\.bias)$') or patches[0]
    depth = 1 + max(int(m[1]) for m in map(re.compile(r'blocks\.(\d+)\.').match, weights) if m)
    tables, cls_token = _tables(weights), 'cls_token' in weights
    # Relative positions have no grid: any that holds a window serves.
    grid = (7, 9) if tables else _square_grid(weights.get('pos_embed'), cls_token)
    backbone = dict(
        arch=dict(
            embed_dim=embed_dim,
            depth=depth,
            num_heads=_num_heads(tables, embed_dim, depth, num_heads),
            mlp_ratio=_common(weights, r'^blocks\.\d+\.mlp\.fc1\.\w+$') / embed_dim or 4,
        ),
        img_size=(grid[0] * patches[3], grid[1] * patches[3]),
        patch_size=patches[3],
        in_channels=patches[1],
        out_type='avg_featmap' if 'fc_norm' in parts else 'raw',
        position='irpe' if tables else 'absolute',
        rpe=_rpe_options(tables, rpe or {}) if tables else None,
        with_cls_token=cls_token,
        final_norm='norm' in parts,
    )
    # The target determines this number. Without a head, use the number for pixels, so that the
    # check of the weights names the missing head.
    pixels = math.prod(patches[1:]) if 'mask_token' in weights else 0
    return Architecture(
        backbone,
        classes=_common(weights, r'^head\.(bias|weight)$'),
        predicted=_common(weights, r'^head\.pred\.\w+$') or pixels,
    )


def _check_encoder(weights: dict[str, Tensor]) -> tuple[int, ...]:
    """Return the shape of the patch embedding; raise a ValueError without an encoder."""
    check_format(weights)
    if PATCHES not in weights or not any(re.match(r'blocks\.\d+\.attn\.', n) for n in weights):
        raise ValueError(
            f'these are no weights of a vision transformer, which has {PATCHES} and blocks.*.attn'
        )
    if not {'norm.weight', 'fc_norm.weight', 'norm.bias', 'fc_norm.bias'} & weights.keys():
        raise ValueError(
            'these are the weights of a detector, or of a segmentor, whose backbone has no norm at '
            'its end; allowed: checkpoints of a pretraining or a classification, such as the one '
            'that the detector was trained from. lomar.Detector or lomar.Segmentor predicts with '
            'it, and `lomar export` writes the features of a detector'
        )
    patches = tuple(weights[PATCHES].shape)
    if len(patches) != 4 or patches[2] != patches[3]:
        raise ValueError(f'{PATCHES} has the shape {patches}; allowed: (D, C, P, P)')
    return patches


def _common(weights: dict[str, Tensor], pattern: str) -> int:
    """Return the most common length of weights whose names match; 0 without a match."""
    sizes = Counter(len(v) for name, v in weights.items() if v.ndim and re.search(pattern, name))
    return sizes.most_common(1)[0][0] if sizes else 0


def _tables(weights: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the most common shape of each iRPE table, by the table's name within `attn`."""
    found = Counter(
        (name.split('.attn.')[1], tuple(value.shape))
        for name, value in weights.items()
        if '.attn.rpe_' in name and value.ndim == 2 + name.endswith('weight')
    )
    return dict(key for key, _ in reversed(found.most_common()))


def _square_grid(pos_embed: Tensor | None, cls_token: bool) -> tuple[int, int]:
    """Return the grid (height, width) of a position table; only square grids are known."""
    if pos_embed is None or pos_embed.ndim != 3:
        raise ValueError('the weights have no positions, neither relative nor absolute (1, L, D)')
    places = pos_embed.shape[1] - cls_token
    side = math.isqrt(max(places, 0))
    if side**2 != places or not side:
        raise ValueError(f'pos_embed has {places} places, which is no square grid')
    return side, side


def _num_heads(
    tables: dict[str, tuple[int, ...]], embed_dim: int, depth: int, heads: int | None
) -> int:
    """Return the number of heads: as given, as in the tables, or of a named architecture."""
    for name, shape in tables.items() if heads is None else ():
        if name.endswith('lookup_table_weight'):  # (heads or 1, D / heads, buckets), of v turned
            heads = embed_dim // max(shape[2 if name.startswith('rpe_v.') else 1], 1)
        elif shape[0] > 1:  # of the bias: (heads or 1, buckets)
            heads = shape[0]
    if heads is None:
        by_size = {(arch['embed_dim'], arch['depth']): name for name, arch in ARCHS.items()}
        named = by_size.get((embed_dim, depth))
        if named is None:
            known = ', '.join(f'{width} x {blocks}' for width, blocks in by_size)
            raise ValueError(
                'the shapes of the weights are the same for any number of heads, and no standard '
                f'model has width {embed_dim} and depth {depth} (standard: {known}): give '
                'num_heads (lomar convert --num-heads)'
            )
        heads = ARCHS[named]['num_heads']
        print_log(
            f'The encoder has {heads} heads, as a ViT-{named} of its width {embed_dim} and depth '
            f'{depth} has; its weights are the same for any number (num_heads)',
            logger='current',
        )
    if heads < 1 or embed_dim % heads:
        raise ValueError(
            f'num_heads (--num-heads) is {heads}; allowed: divisors of the width {embed_dim}'
        )
    return heads


def _rpe_options(tables: dict[str, tuple[int, ...]], given: dict) -> dict:
    """Return the iRPE options; raise a ValueError if the number of buckets does not fit."""
    name, shape = next(iter(tables.items()))
    if 'lookup_table' not in name:
        raise ValueError(f'the weights have decomposed positions ({name}); allowed: iRPE, absolute')
    options = (
        dict(
            method='cross' if '.rp_' in name else 'product',
            mode='bias' if name.endswith('bias') else 'contextual',
            on=''.join(sorted({table[len('rpe_')] for table in tables})),
            ratio=1.9,
            shared_heads=shape[0] == 1,
        )
        | given
    )
    buckets = shape[1 if name.startswith('rpe_v.') else -1]
    if buckets != num_buckets(options['method'], options['ratio']):
        raise ValueError(
            f'relative positions with {buckets} buckets are not those of '
            f"method='{options['method']}', ratio={options['ratio']}: give rpe=dict(method=..., "
            'ratio=...) as they were trained'
        )
    return options
