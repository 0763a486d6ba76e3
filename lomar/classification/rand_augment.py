"""RandAugment of timm for RGB images."""

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image
from timm.data.auto_augment import posterize, rand_augment_transform


@TRANSFORMS.register_module()
class TimmRandAugment(BaseTransform):
    """timm's RandAugment, which the fine-tuning of MAE and LoMaR uses.

    mmpretrain's RandAugment expects B, G, R in its conversion to grey.

    Args:
        policy: timm's policy string, e.g. 'rand-m9-mstd0.5-inc1': magnitude 9 with standard
            deviation 0.5, and operations whose strength increases with the magnitude.
        size: image side in pixels; the largest translation is 0.45 x size, as in timm.
    """

    def __init__(self, policy: str = 'rand-m9-mstd0.5-inc1', size: int = 224):
        fill = (124, 116, 104)  # ImageNet's mean: R, G, B
        hparams = dict(
            translate_const=int(size * 0.45), img_mean=fill, interpolation=Image.Resampling.BICUBIC
        )
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
