"""Augmentation that mmpretrain has for B, G, R only, or not as the recipes use it."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image
from timm.data.auto_augment import posterize, rand_augment_transform


@TRANSFORMS.register_module()
class TimmRandAugment(BaseTransform):
    """timm's RandAugment, which the fine-tuning of MAE and LoMaR uses.

    mmpretrain's own takes pixels in the order B, G, R to make them grey.

    Args:
        policy: timm's words, e.g. 'rand-m9-mstd0.5-inc1': magnitude 9 with a deviation of 0.5,
            operations that grow with it.
        size: side of the images in pixels; they move by up to 0.45 of it, as timm does.
    """

    def __init__(self, policy: str = 'rand-m9-mstd0.5-inc1', size: int = 224):
        fill = (124, 116, 104)  # ImageNet's mean: R, G, B
        hparams = dict(translate_const=int(size * 0.45), img_mean=fill, interpolation=Image.BICUBIC)
        self.augment = rand_augment_transform(policy, hparams)
        for operation in self.augment.ops:
            if operation.aug_fn is posterize:
                operation.aug_fn = _posterize

    def transform(self, results: dict) -> dict:
        """Change `img`, (H, W, 3) uint8 in the order R, G, B."""
        results['img'] = np.array(self.augment(Image.fromarray(results['img'])))
        return results


def _posterize(image: Image.Image, bits: int, **options) -> Image.Image:
    """Posterize an image as timm does; 0 bits, which Pillow 13 refuses, give a black image."""
    return posterize(image, bits, **options) if bits else Image.new(image.mode, image.size)
