"""Resizing of a detector's images with antialiasing, as detectron2 does it by Pillow."""

import numpy as np
from mmcv.image import rescale_size
from mmcv.transforms import RandomResize
from mmdet.datasets.transforms import Resize
from mmengine.registry import TRANSFORMS

from lomar.datasets.resize import FILTERS, resize_pixels


@TRANSFORMS.register_module()
class AntialiasedResize(Resize):
    """mmdet's `Resize`, antialiased, for any number of channels of uint8, uint16 or float32.

    mmdet's own shrinks by OpenCV, which skips pixels.

    Args:
        interpolation: 'bilinear', as in detectron2, or 'bicubic'.
        scale, scale_factor, keep_ratio, clip_object_border: those of mmdet's.

    Raises:
        ValueError: another interpolation.
    """

    def __init__(
        self,
        scale: int | tuple[int, int] | None = None,
        scale_factor: float | tuple[float, float] | None = None,
        keep_ratio: bool = False,
        clip_object_border: bool = True,
        interpolation: str = 'bilinear',
    ):
        if interpolation not in FILTERS:
            raise ValueError(
                f'{type(self).__name__}.interpolation is {interpolation!r}; allowed: '
                f'{", ".join(map(repr, FILTERS))}'
            )
        super().__init__(
            scale, scale_factor, keep_ratio, clip_object_border, interpolation=interpolation
        )

    def _resize_img(self, results: dict) -> None:
        height, width = results['img'].shape[:2]
        new = results['scale']
        if self.keep_ratio:
            new = rescale_size((width, height), new)
        new = [max(1, int(side)) for side in new]  # of 3 x 1000 pixels, too, one row remains
        results['img'] = resize_pixels(results['img'], (new[1], new[0]), self.interpolation)
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = new[0] / width, new[1] / height
        results['keep_ratio'] = self.keep_ratio

    def _resize_masks(self, results: dict) -> None:
        if results.get('gt_masks') is not None:
            results['gt_masks'] = results['gt_masks'].resize(results['img_shape'])


@TRANSFORMS.register_module()
class AntialiasedRandomResize(RandomResize):
    """mmcv's `RandomResize` by `AntialiasedResize`, to the sizes that detectron2 draws.

    mmcv's own cuts the fraction of a pixel off the drawn scale; here sides are rounded once, at
    the end. The same random state draws the same ratio.

    Args:
        scale: (width, height) in pixels, to be multiplied by the ratio.
        ratio_range: least and largest ratio, drawn uniformly.
        kwargs: those of `AntialiasedResize`.
    """

    def __init__(self, scale: tuple[int, int], ratio_range: tuple[float, float], **kwargs):
        super().__init__(scale, ratio_range, resize_type='AntialiasedResize', **kwargs)

    @staticmethod
    def _random_sample_ratio(
        scale: tuple[int, int], ratio_range: tuple[float, float]
    ) -> tuple[float, float]:
        low, high = ratio_range
        ratio = np.random.random_sample() * (high - low) + low
        return scale[0] * ratio, scale[1] * ratio
