"""Settings that the shapes of weights do not show, from the config that a checkpoint stores."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config

from lomar.checkpoints.config_reader import read_configs
from lomar.checkpoints.published import TIMM
from lomar.models.architectures import ARCHS, as_size
from lomar.utils import preprocessor_of, type_name

HEADS, METHOD, RATIO = 'backbone.arch.num_heads', 'backbone.rpe.method', 'backbone.rpe.ratio'
MEAN, STD = 'data_preprocessor.mean', 'data_preprocessor.std'
# Heads of mmpretrain's architectures by name.
THEIR_HEADS = dict(b=12, base=12, l=16, large=16, h=16, huge=16)


IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of 0 ... 255


class Change(NamedTuple):
    """Setting of the model with which a checkpoint was trained, and of another model."""

    key: str
    trained: object
    now: object

    def __str__(self) -> str:
        return f'model.{self.key} was {self.trained} and is {self.now}'


def trained_config(content: object) -> Mapping:
    """Return the config that a checkpoint stores, or {}."""
    return next(iter(read_configs(content).values()), {})


def trained_settings(content: object) -> dict[str, Any]:
    """Return the settings by key that a checkpoint was trained with; {} without a stored config.

    The keys are `HEADS`, `METHOD`, `RATIO`, `MEAN` and `STD`, as far as the config has them, and
    for a folder of timm `MEAN` and `STD`.
    """
    config = trained_config(content)
    return config_settings(config) if config else timm_settings(content)


def timm_settings(content: object) -> dict[str, Any]:
    """Return `MEAN` and `STD` of a folder of timm, as far as its config.json has them."""
    return config_settings(_dict(_dict(content).get('meta')).get(TIMM))


def config_settings(config: object) -> dict[str, Any]:
    """Return the same settings of a config."""
    model = _model(config)
    backbone = _dict(model.get('backbone'))
    preprocessor = _dict(preprocessor_of(dict(_dict(config), model=model)))
    kind = type_name(backbone)
    found: dict[str, Any] = {}
    if kind in ('RPEViT', 'LoMaRViT'):
        arch = backbone.get('arch', 'base')
        found[HEADS] = _dict(ARCHS.get(arch) if isinstance(arch, str) else arch).get('num_heads')
        if backbone.get('position', 'irpe') == 'irpe':
            rpe = _dict(backbone.get('rpe'))
            found |= {METHOD: rpe.get('method', 'product'), RATIO: rpe.get('ratio', 1.9)}
    elif kind in ('MAEViT', 'VisionTransformer'):
        arch = backbone.get('arch', 'base')
        named = isinstance(arch, str)
        found[HEADS] = THEIR_HEADS.get(arch) if named else _dict(arch).get('num_heads')
    for key in (MEAN, STD):
        numbers = preprocessor.get(key.rpartition('.')[2])
        found[key] = list(numbers) if isinstance(numbers, list | tuple) else None
    return {key: value for key, value in found.items() if value is not None}


def trained_rpe(trained: Mapping[str, Any]) -> dict[str, Any]:
    """Return `method` and `ratio` of iRPE in `trained_settings`, as far as they are there."""
    return {key.rpartition('.')[2]: trained[key] for key in (METHOD, RATIO) if key in trained}


def is_imagenet(trained: Mapping[str, Any]) -> bool:
    """Return whether mean and standard deviation of `trained_settings` are ImageNet's or unknown.

    They are compared with a relative tolerance of 0.1 %.
    """
    return all(
        np.shape(found) == np.shape(usual) and np.allclose(found, usual, rtol=1e-3)
        for found, usual in ((trained.get(MEAN), IMAGENET_MEAN), (trained.get(STD), IMAGENET_STD))
        if found
    )


def trained_size(content: object) -> tuple[int, int] | None:
    """Return (height, width) of the images in training, in pixels; None without a stored config."""
    backbone = _dict(_model(trained_config(content)).get('backbone'))
    kind = type_name(backbone)
    if kind not in ('RPEViT', 'LoMaRViT', 'MAEViT', 'VisionTransformer'):
        return None
    return as_size('img_size', backbone.get('img_size', 224))


def changes(content: object, config: Config) -> list[Change]:
    """Return the settings that differ between a checkpoint and a config."""
    now = config_settings({key: config.get(key) for key in ('model', 'data_preprocessor')})
    trained = trained_settings(content)
    return [
        Change(key, trained[key], now[key])
        for key in trained.keys() & now.keys()
        if trained[key] != now[key]
        # Other channels are a change that the patch embedding shows.
        and not (key in (MEAN, STD) and len(trained[key]) != len(now[key]))
    ]


def _model(config: object) -> Mapping:
    model = _dict(_dict(config).get('model'))
    return _dict(model.get('module', model))  # of a model for test-time augmentation


def _dict(node: object) -> Mapping:
    return node if isinstance(node, Mapping) else {}
