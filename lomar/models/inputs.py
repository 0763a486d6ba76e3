"""Data preprocessor of pretraining: uint8 or float images from the loader to model inputs."""

from collections.abc import Sequence

import torch
from mmengine.model import BaseDataPreprocessor
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module(name=['PretrainDataPreprocessor', 'WindowDataPreprocessor'])
class PretrainDataPreprocessor(BaseDataPreprocessor):
    """Data preprocessor that normalizes images of any channels, size and dtype on the device.

    A sample is one image (C, H, W), or several regions of one image (R, C, H, W). Each region
    becomes an image of the batch. The earlier name `WindowDataPreprocessor` still works.

    Args:
        mean, std: one number per channel, in the unit of the pixel values in the file.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], non_blocking: bool = False):
        super().__init__(non_blocking)
        check_normalisation(mean, std)
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), False)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Return images as a batch (B, C, H, W), or as a list if their sizes differ."""
        data = self.cast_data(data)
        samples = data['inputs']
        images: Tensor | list[Tensor]
        if isinstance(samples, Tensor):
            images = self._normalise(samples.flatten(0, -4))
        else:
            images = [
                image
                for sample in samples
                for image in self._normalise(sample.view(-1, *sample.shape[-3:]))
            ]
            if len({image.shape for image in images}) == 1:
                images = torch.stack(images)
        return {'inputs': images, 'data_samples': data.get('data_samples')}

    def _normalise(self, images: Tensor) -> Tensor:
        check_channel_count(images.shape[1], self.mean)
        return (images.float() - self.mean) / self.std


def check_normalisation(mean: Sequence[float], std: Sequence[float]) -> None:
    """Raise a ValueError unless each channel has a mean and a positive standard deviation."""
    lists = all(
        isinstance(each, Sequence) and all(isinstance(x, int | float) for x in each)
        for each in (mean, std)
    )
    if not lists or not len(mean) == len(std) > 0 or min(std) <= 0:
        raise ValueError(
            f'data_preprocessor.mean is {mean} and std {std}; allowed: lists with one '
            'number per channel, std above 0 (`lomar statistics` computes both)'
        )


def check_channels(model: nn.Module) -> None:
    """Raise a ValueError unless the normalization of a model fits the channels of its backbone."""
    mean, std = (getattr(getattr(model, 'data_preprocessor', 0), key, 0) for key in ('mean', 'std'))
    found = getattr(getattr(model, 'backbone', None), 'in_channels', None)
    if not isinstance(mean, Tensor) or not isinstance(std, Tensor):
        return
    if not mean.is_meta:
        check_normalisation(mean.flatten().tolist(), std.flatten().tolist())
    if isinstance(found, int) and mean.numel() != found:
        raise ValueError(
            f'model.backbone.in_channels is {found}, and model.data_preprocessor.mean has '
            f'{mean.numel()} numbers; allowed: one number per channel'
        )


def check_channel_count(found: int, mean: Tensor) -> None:
    """Raise a ValueError unless there is a mean for each channel of an image."""
    if found != len(mean):
        raise ValueError(
            f'an image has {found} channels, data_preprocessor.mean has {len(mean)}; allowed: one '
            'for each channel'
        )
