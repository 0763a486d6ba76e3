"""Mean and standard deviation of the pixels that the model in a checkpoint takes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lomar.checkpoints.trained_settings import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    MEAN,
    STD,
    is_imagenet,
    timm_settings,
    trained_settings,
)


def normalization(
    content: object, channels: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation in pixel units, float32 (C,).

    Args:
        content: of the checkpoint.
        channels: C of the model.
        mean, std: one number per channel; None for both = those of timm's config.json in the
            checkpoint, or else ImageNet's.

    Raises:
        ValueError: the training had others than ImageNet's and none are given, or they do not fit
            the channels.
    """
    if mean is None and std is None and channels == len(IMAGENET_MEAN):
        mean, std = _usual(content)
    means, stds = (  # in float32: NumPy's numbers are float64
        torch.as_tensor(() if each is None else each, dtype=torch.float32).view(-1)
        for each in (mean, std)
    )
    found = [len(means), len(stds)]
    if found != [channels] * 2:
        raise ValueError(
            f'the weights take {channels} channels, and mean and std have {found[0]} and '
            f'{found[1]} numbers; allowed: one for each channel (`lomar statistics` computes them)'
        )
    if not (stds > 0).all():
        raise ValueError(f'std is {stds.tolist()}; allowed: numbers above 0')
    return means, stds


def _usual(content: object) -> tuple[Sequence[float], Sequence[float]]:
    stated, trained = timm_settings(content), trained_settings(content)
    if not stated and not is_imagenet(trained):
        raise ValueError(
            f'the model was trained with {MEAN}={trained.get(MEAN)} and '
            f'{STD}={trained.get(STD)}, and the default is that of ImageNet, '
            f'{list(IMAGENET_MEAN)} and {list(IMAGENET_STD)}; give mean= and std= of the training '
            '(lomar encode --mean --std)'
        )
    return stated.get(MEAN, IMAGENET_MEAN), stated.get(STD, IMAGENET_STD)
