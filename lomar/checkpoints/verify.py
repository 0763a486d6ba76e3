"""Verification of a conversion: the source and target models process the same image."""

from collections.abc import Callable

import torch
from mmengine.registry import MODELS, DefaultScope
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from lomar.checkpoints.architecture import Architecture
from lomar.checkpoints.files import misfit_as_value_error
from lomar.checkpoints.inferencers import BUILDING
from lomar.checkpoints.names import from_official
from lomar.models.timm_vit import VisionTransformer as LoMaRVisionTransformer

Weights = dict[str, Tensor]
Model = Callable[[Tensor], Tensor]
# Of the largest value. Float32 sums in another order differ by about 1e-6 of it.
TOLERANCE = 1e-4


def largest_difference(
    old: Weights, new: Weights, source: str, target: str, encoder: Architecture
) -> str:
    """Return a line with the largest difference of the two models' outputs for one seeded image.

    Args:
        old: weights of encoder and head with the source's names, without prefix.
        new: weights with the target's names.

    Raises:
        ValueError: the difference exceeds rounding, or the weights do not form the model.
    """
    if target == 'detectron2':
        return 'not verified: detectron2 is not among the packages used here'
    what = _what(new, encoder)
    generator = torch.Generator().manual_seed(0)
    channels, (height, width) = encoder.backbone['in_channels'], encoder.backbone['img_size']
    images = torch.randn(1, channels, height, width, generator=generator)
    with torch.inference_mode():
        expected = _MODELS[source](old, encoder, what)(images)
        actual = _MODELS[target](new, encoder, what)(images)
    difference = (actual - expected).abs().max().item()
    largest = expected.abs().max().item()
    line = (
        f'{what} of one image of {height} x {width}: largest difference {difference:.1e} '
        f'(largest value {largest:.3g})'
    )
    if not difference <= TOLERANCE * largest:
        raise ValueError(f'source and target do not agree: {line}')
    return f'verified: {line}'


def _what(new: Weights, encoder: Architecture) -> str:
    """Return the name of the last output that the target model has."""
    if any('head.pred.' in name for name in new):
        return 'predictions'
    if any('head.' in name for name in new):
        return 'logits'
    return 'pooled features' if encoder.fc_norm else 'tokens'


def _fill(model: nn.Module, weights: Weights) -> None:
    with misfit_as_value_error():
        model.load_state_dict(weights)
    model.eval()


def _ours(weights: Weights, encoder: Architecture, what: str) -> Model:
    """Return a `LoMaR`, an `ImageClassifier` or an `RPEViT`, depending on the names."""
    if 'head.pred.weight' not in weights:
        return _openmmlab(dict(type='RPEViT', **encoder.backbone), weights, encoder, what)
    config = dict(
        type='LoMaR',
        backbone=dict(type='LoMaRViT', **encoder.backbone),
        windows=dict(size=7, number=1),
        head=dict(type='WindowPixelHead'),
    )
    return _openmmlab(config, weights, encoder, what)


def _openmmlab(config: dict, weights: Weights, encoder: Architecture, what: str) -> Model:
    """Return a registered model with the weights; a backbone with a head becomes a classifier."""
    import lomar.register  # noqa: F401  (not at the top: timm's models need no OpenMMLab)

    heads = {
        'head.fc.weight': 'LinearClsHead',
        'head.layers.head.weight': 'VisionTransformerClsHead',
    }
    if kind := next((kind for name, kind in heads.items() if name in weights), None):
        width = encoder.backbone['arch']['embed_dim']
        config['out_type'] = 'avg_featmap' if encoder.fc_norm else 'cls_token'
        head = dict(type=kind, num_classes=encoder.classes, in_channels=width)
        config = dict(type='ImageClassifier', backbone=config, head=head)
    with BUILDING, DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(config)
    if 'head.pred.weight' in weights:
        # The weights determine the number of outputs, but not the target, which is not used here.
        outputs, width = weights['head.pred.weight'].shape
        model.head.pred = nn.Linear(width, outputs)
    backbone = getattr(model, 'backbone', model)
    if backbone is not model:
        weights = {
            name if name.startswith(('backbone.', 'head.')) else f'backbone.{name}': value
            for name, value in weights.items()
        }
    _fill(model, weights)
    if what == 'predictions':
        generator = torch.Generator().manual_seed(0)
        return lambda images: model.predict(images, *model.sample(images, generator))
    if what == 'logits':
        return model
    backbone.out_type = 'avg_featmap' if encoder.fc_norm else 'raw'
    return lambda images: backbone(images)[-1]


def _official(weights: Weights, encoder: Architecture, what: str) -> Model:
    target = {'predictions': 'pretrain', 'logits': 'classifier'}.get(what, 'backbone')
    return _ours(from_official(weights, target), encoder, what)


def timm_model(weights: Weights, encoder: Architecture, what: str) -> Model:
    """Return timm's model, which is also the encoder of the original MAE."""
    settings = encoder.backbone
    model = (LoMaRVisionTransformer if settings['rpe'] else VisionTransformer)(
        **settings['arch'],
        img_size=settings['img_size'],
        patch_size=settings['patch_size'],
        in_chans=settings['in_channels'],
        class_token=settings['with_cls_token'],
        num_classes=encoder.classes,
        global_pool='token' if settings['final_norm'] and settings['with_cls_token'] else 'avg',
        fc_norm=encoder.fc_norm,
    )
    _fill(model, weights)
    if what == 'logits':
        return model
    if what == 'tokens':
        return model.forward_features
    return lambda images: model.forward_head(model.forward_features(images), pre_logits=True)


def _mmpretrain(weights: Weights, encoder: Architecture, what: str) -> Model:
    shared = ('img_size', 'patch_size', 'in_channels', 'out_type', 'with_cls_token', 'final_norm')
    arch = encoder.backbone['arch']
    config = dict(
        type='VisionTransformer',
        arch=dict(
            embed_dims=arch['embed_dim'],
            num_layers=arch['depth'],
            num_heads=arch['num_heads'],
            feedforward_channels=round(arch['embed_dim'] * arch['mlp_ratio']),
        ),
        **{key: encoder.backbone[key] for key in shared},
    )
    return _openmmlab(config, weights, encoder, what)


_MODELS = dict(
    official=_official, mae=timm_model, mmpretrain=_mmpretrain, timm=timm_model, lomar=_ours
)
_MODELS |= dict(backbone=_ours, classifier=_ours)
