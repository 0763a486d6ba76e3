"""The part of a published config.json from which timm builds a model."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lomar.checkpoints.architecture import Architecture
from lomar.checkpoints.convert import Conversion, check_rpe, convert
from lomar.checkpoints.timm_backbone import backbone_arguments
from lomar.checkpoints.trained_settings import HEADS, MEAN, STD, trained_settings
from lomar.checkpoints.verify import TOLERANCE, timm_model

MODEL = 'lomar_vit'  # in lomar.timm
# timm prints this name as that of an unknown model.
READERS = dict(
    detector='lomar.Detector',
    classifier='lomar.Classifier',
    segmentor='lomar.Segmentor',
    pretraining='lomar.Encoder',
)


def timm_config(
    content: Mapping, weights: dict[str, Tensor], model: nn.Module, kind: str
) -> dict[str, Any]:
    """Return the keys of config.json with which timm loads the encoder, classifier or backbone.

    The outputs of both models are compared.

    Args:
        content: content of the checkpoint.
        weights: weights of the model by the names of the training.
        model: the model of the checkpoint.
        kind: 'detector', 'classifier', 'segmentor' or 'pretraining'.

    Raises:
        ValueError: timm has no such model; the message is the reason.
    """
    trained = trained_settings(content)
    check_rpe(trained)
    backbone: Any = getattr(model, 'backbone', None)
    if backbone is None:
        raise ValueError(f'the model {type(model).__name__} has no backbone')
    if kind in ('detector', 'segmentor'):
        return _config(content, backbone_arguments(backbone))
    mmpretrain = any(re.search(r'\blayers\.\d+\.ln1\.', name) for name in weights)
    source = 'mmpretrain' if mmpretrain else 'lomar'
    conversion = convert(weights, source, 'timm', trained.get(HEADS))
    if kind == 'classifier':
        _compare_logits(model, conversion)
    return _config(content, _arguments(conversion.encoder, kind, list(backbone.img_size)))


def _config(content: Mapping, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the keys for a model with these arguments."""
    return dict(
        architecture=MODEL,
        num_classes=arguments['num_classes'],
        num_features=arguments['embed_dim'],
        global_pool=arguments['global_pool'],
        model_args=arguments,
        pretrained_cfg=_preprocessing(content, arguments),
    )


def _compare_logits(model: nn.Module, conversion: Conversion) -> None:
    """Raise a ValueError unless timm's model has the logits of the whole classifier.

    The converter compares encoders with a linear head, and knows no other layers.
    """
    settings, generator = conversion.encoder.backbone, torch.Generator().manual_seed(0)
    size = settings['in_channels'], *settings['img_size']
    images = torch.randn(1, *size, generator=generator)
    with torch.inference_mode():
        expected = model(images)
        found = timm_model(conversion.weights, conversion.encoder, 'logits')(images)
    difference = (found - expected).abs().max().item()
    if not difference <= TOLERANCE * expected.abs().max().item():
        raise ValueError(f'its model has other logits (largest difference {difference:.1e})')


def no_timm_config(kind: str) -> dict[str, Any]:
    """Return the keys by which timm's error names the class that reads the folder."""
    return dict(architecture=READERS[kind], pretrained_cfg={})


def _arguments(encoder: Architecture, kind: str, size: list[int]) -> dict[str, Any]:
    settings = encoder.backbone
    cls_token = settings['with_cls_token']
    pooled = kind == 'pretraining' or encoder.fc_norm or not cls_token
    return dict(
        position='irpe' if settings['rpe'] else 'absolute',
        **settings['arch'],
        img_size=size if settings['rpe'] else list(settings['img_size']),
        patch_size=settings['patch_size'],
        in_chans=settings['in_channels'],
        class_token=cls_token,
        num_classes=encoder.classes,
        global_pool='avg' if pooled else 'token',
        fc_norm=encoder.fc_norm,
    )


def _preprocessing(content: Mapping, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return timm's `pretrained_cfg`, with mean and std of the config for pixels of 0 to 1."""
    trained, channels = trained_settings(content), arguments['in_chans']
    found = {
        key: [round(number / 255, 6) for number in trained[name]]
        for key, name in (('mean', MEAN), ('std', STD))
        if len(trained.get(name) or ()) == channels
    }
    return dict(
        input_size=[channels, *arguments['img_size']],
        fixed_input_size=True,
        num_classes=arguments['num_classes'],
        interpolation='bicubic',
        crop_pct=1.0,
        first_conv='patch_embed.proj',
        classifier='head',
        **found,
    )
