"""Data preprocessor of classifiers."""

import torch
from mmengine.registry import MODELS
from mmpretrain.models import ClsDataPreprocessor
from mmpretrain.structures import DataSample


@MODELS.register_module()
class LabelledDataPreprocessor(ClsDataPreprocessor):
    """mmpretrain's `ClsDataPreprocessor` with non-blocking copies to the GPU.

    mmpretrain's class has no option `non_blocking`, and its Mixup and CutMix copy a permutation to
    the GPU twice per step. Here labels are copied once, and permutations are drawn on the images'
    device.

    Args:
        non_blocking: whether images and labels are copied asynchronously.
        kwargs: arguments of mmpretrain's class.
    """

    def __init__(self, non_blocking: bool = False, **kwargs):
        super().__init__(**kwargs)
        self._non_blocking = non_blocking

    def forward(self, data: dict, training: bool = False) -> dict:
        """Return inputs and samples of a batch on the model's device, as mmpretrain does."""
        samples = data.get('data_samples') or ()
        if samples and all(isinstance(s, DataSample) and 'gt_label' in s for s in samples):
            labels = [sample.gt_label for sample in samples]
            moved = self.cast_data(torch.cat(labels)).split([len(label) for label in labels])
            for sample, label in zip(samples, moved, strict=True):
                sample.set_gt_label(label)
        with torch.device(self.device):
            return super().forward(data, training)
