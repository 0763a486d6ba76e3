"""Source and target of a conversion as models, and one image through both."""

from collections.abc import Callable

import torch
from mmengine.registry import MODELS, DefaultScope
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from lomar.checkpoints.architecture import Architecture
from lomar.checkpoints.names import why_unread
from lomar.checkpoints.official import from_official
from lomar.timm import VisionTransformer as LoMaRVisionTransformer

Weights = dict[str, Tensor]
# Float32 sums in another order differ by about 1e-6 of the largest value.
TOLERANCE = 1e-4


def largest_difference(
    old: Weights, new: Weights, source: str, target: str, encoder: Architecture
) -> str:
    """Run one seeded image through the model of either side and say how far they are apart.

    Args:
        old: weights by the source's names.
        new: weights by the target's names.

    Returns:
        One line: what was compared and the largest difference, or why nothing was.

    Raises:
        ValueError: the difference is more than rounding.
    """
    if target == 'detectron2':
        return 'not verified: detectron2 is not among the packages used here'
    if encoder.num_heads is None:
        return 'not verified: the weights do not tell the number of heads (name it: --num-heads)'
    what = _what(new, encoder)
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, encoder.in_channels, *encoder.img_size, generator=generator)
    with torch.inference_mode():
        expected = _SOURCES[source](old, encoder, what)(images)
        actual = _TARGETS[target](new, encoder, what)(images)
    difference = (actual - expected).abs().max().item()
    largest = expected.abs().max().item()
    line = (
        f'{what} of one image of {images.shape[2]} x {images.shape[3]}: largest difference '
        f'{difference:.1e} (largest value {largest:.3g})'
    )
    if not difference <= TOLERANCE * max(largest, 1):
        raise ValueError(f'source and target do not agree: {line}')
    return f'verified: {line}'


def _what(new: Weights, encoder: Architecture) -> str:
    """The last output that the target can give."""
    if any('head.pred.' in name for name in new):
        return 'predictions'
    if any('head.' in name for name in new):
        return 'logits'
    return 'pooled features' if encoder.norm == 'fc_norm' else 'tokens'


def _openmmlab(config: dict, weights: Weights) -> nn.Module:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(config)
    if 'head.pred.weight' in weights:
        # The weights tell how much is predicted for a patch, and not what; the target is not asked.
        model.head.pred = nn.Linear(*reversed(weights['head.pred.weight'].shape))
    model.load_state_dict(weights)
    model.eval()  # which mmpretrain's backbones answer with None
    return model


def _with_head(backbone: dict, encoder: Architecture, head: str = 'LinearClsHead') -> dict:
    head = dict(type=head, num_classes=encoder.classes, in_channels=encoder.embed_dim)
    out_type = 'avg_featmap' if encoder.norm == 'fc_norm' else 'cls_token'
    return dict(type='ImageClassifier', backbone={**backbone, 'out_type': out_type}, head=head)


def _ours(weights: Weights, encoder: Architecture, what: str) -> Callable[[Tensor], Tensor]:
    """A `LoMaR`, an `ImageClassifier` or an `RPEViT`, as the names say."""
    backbone = dict(type='RPEViT', **encoder.backbone())
    if 'head.pred.weight' in weights:
        config = dict(
            type='LoMaR',
            backbone={**backbone, 'type': 'LoMaRViT'},
            windows=dict(size=7, number=1),
            head=dict(type='WindowPixelHead'),
        )
    elif 'head.fc.weight' in weights:
        config = _with_head(backbone, encoder)
    else:
        config = backbone
    model = _openmmlab(config, weights)
    if what == 'predictions':
        return lambda images: model.predict(
            images, *model.sample(images, torch.Generator().manual_seed(0))
        )
    return model if what == 'logits' else _encoded(model, encoder)


def _encoded(model: nn.Module, encoder: Architecture) -> Callable[[Tensor], Tensor]:
    """Features by mmpretrain's interface: the mean's where there is `fc_norm`, else all tokens."""
    backbone = model if hasattr(model, 'out_type') else model.backbone
    backbone.out_type = 'avg_featmap' if encoder.norm == 'fc_norm' else 'raw'
    return lambda images: backbone(images)[-1]


def _official(weights: Weights, encoder: Architecture, what: str) -> Callable[[Tensor], Tensor]:
    target = {'predictions': 'pretrain', 'logits': 'classifier'}.get(what, 'backbone')
    return _ours(from_official(weights, target), encoder, what)


def _timm(weights: Weights, encoder: Architecture, what: str) -> Callable[[Tensor], Tensor]:
    irpe = encoder.position == 'irpe'
    settings = encoder.backbone()
    model = (LoMaRVisionTransformer if irpe else VisionTransformer)(
        **settings['arch'],
        img_size=encoder.img_size,
        patch_size=encoder.patch_size,
        in_chans=encoder.in_channels,
        class_token=encoder.cls_token,
        num_classes=encoder.classes,
        global_pool='token' if encoder.norm == 'norm' and encoder.cls_token else 'avg',
        fc_norm=encoder.norm == 'fc_norm',
        final_norm=bool(encoder.norm),
    )
    model.load_state_dict(weights)
    model.eval()
    if what == 'logits':
        return model
    if what == 'tokens':
        return model.forward_features
    return lambda images: model.forward_head(model.forward_features(images), pre_logits=True)


def _mae(weights: Weights, encoder: Architecture, what: str) -> Callable[[Tensor], Tensor]:
    """The original code's encoder is timm's."""
    kept = {name: value for name, value in weights.items() if not why_unread('mae', name)}
    return _timm(kept, encoder, what)


def _mmpretrain(weights: Weights, encoder: Architecture, what: str) -> Callable[[Tensor], Tensor]:
    weights = {k: v for k, v in weights.items() if not why_unread('mmpretrain', k)}
    backbone = dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=encoder.embed_dim,
            num_layers=encoder.depth,
            num_heads=encoder.num_heads,
            feedforward_channels=encoder.hidden_dim,
        ),
        img_size=encoder.img_size,
        patch_size=encoder.patch_size,
        in_channels=encoder.in_channels,
        with_cls_token=encoder.cls_token,
        out_type='avg_featmap' if encoder.norm == 'fc_norm' else 'raw',
        final_norm=encoder.norm == 'norm',
    )
    if encoder.classes:
        head = 'LinearClsHead' if 'head.fc.weight' in weights else 'VisionTransformerClsHead'
        model = _openmmlab(_with_head(backbone, encoder, head), weights)
    else:
        plain = {name.removeprefix('backbone.'): value for name, value in weights.items()}
        model = _openmmlab(backbone, plain)
    return model if what == 'logits' else _encoded(model, encoder)


_SOURCES = dict(official=_official, mae=_mae, mmpretrain=_mmpretrain, timm=_timm, lomar=_ours)
_TARGETS = dict(lomar=_ours, backbone=_ours, classifier=_ours, timm=_timm)
