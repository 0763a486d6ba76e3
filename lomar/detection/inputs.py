"""Data preprocessor of detectors for images of any number of channels."""

from collections.abc import Sequence

import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmengine.registry import MODELS

from lomar.models.inputs import check_channel_count, check_normalisation


@MODELS.register_module()
class ChannelsDetDataPreprocessor(DetDataPreprocessor):
    """mmdet's `DetDataPreprocessor` for any number of channels instead of 1 or 3.

    Args:
        mean, std: one number per channel, in the unit of the pixel values in the file.
        kwargs: arguments of mmdet's class. `bgr_to_rgb` and `rgb_to_bgr` have an effect only on
            images of 3 channels, as `color_type` of `LoadImage` has.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], **kwargs):
        check_normalisation(mean, std)
        super().__init__(**kwargs)
        self._channel_conversion &= len(mean) == 3
        self.register_buffer('mean', torch.tensor(mean).view(-1, 1, 1), False)
        self.register_buffer('std', torch.tensor(std).view(-1, 1, 1), False)
        self._enable_normalize = True

    def forward(self, data: dict, training: bool = False) -> dict:
        """Check the number of channels, then normalize and pad as mmdet does."""
        for image in data['inputs']:
            check_channel_count(len(image), self.mean)
        return super().forward(data, training)
