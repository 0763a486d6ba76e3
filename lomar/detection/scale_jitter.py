"""Antialiased resize and large-scale jitter of detection images, with Pillow as in detectron2."""

from collections.abc import Sequence
from numbers import Real

import numpy as np
from mmcv.image import rescale_size
from mmdet.datasets.transforms import RandomCrop, Resize
from mmengine.registry import TRANSFORMS

from lomar.datasets.resize import FILTERS, resize_pixels
from lomar.utils import check_choice


@TRANSFORMS.register_module()
class AntialiasedResize(Resize):
    """mmdet's `Resize` with antialiasing, for any number of channels of uint8, uint16 or float32.

    mmdet's `Resize` downscales by OpenCV without antialiasing.

    Args:
        interpolation: 'bilinear', as in detectron2, or 'bicubic'.
        args, kwargs: other arguments of mmdet's `Resize`.
    """

    def __init__(self, *args, interpolation: str = 'bilinear', **kwargs):
        check_choice(f'{type(self).__name__}.interpolation', interpolation, FILTERS)
        super().__init__(*args, interpolation=interpolation, **kwargs)

    def _resize_img(self, results: dict) -> None:
        height, width = results['img'].shape[:2]
        new = results['scale']
        if self.keep_ratio:
            new = rescale_size((width, height), new)
        new = [max(1, int(side)) for side in new]  # a 3 x 1000 image keeps at least one row
        results['img'] = resize_pixels(results['img'], (new[1], new[0]), self.interpolation)
        results['img_shape'] = results['img'].shape[:2]
        results['scale_factor'] = new[0] / width, new[1] / height
        results['keep_ratio'] = self.keep_ratio

    def _resize_masks(self, results: dict) -> None:
        if results.get('gt_masks') is not None:
            results['gt_masks'] = results['gt_masks'].resize(results['img_shape'])


@TRANSFORMS.register_module()
class LargeScaleJitter(RandomCrop):
    """Random resize and random crop in one transform, which computes only the pixels in the crop.

    Image sizes equal detectron2's: sides are rounded once, at the end. mmdet's `RandomResize`
    truncates the drawn scale to whole pixels first. For the same random state, ratio and offset
    equal those of mmdet's `RandomResize` and `RandomCrop`. If the crop is smaller than the image,
    its pixels differ by at most 2 of 255 from a crop of the resized whole image, due to rounding.

    Args:
        scale: (width, height) in pixels; the image is resized to fit into ratio * scale.
        ratio_range: smallest and largest ratio, drawn uniformly.
        crop_size: (width, height) of the crop in pixels; smaller images are not padded.
        interpolation: 'bilinear', as in detectron2, or 'bicubic'.
        kwargs: other arguments of mmdet's `RandomCrop`.
    """

    def __init__(
        self,
        scale: tuple[int, int],
        ratio_range: tuple[float, float],
        crop_size: tuple[int, int],
        interpolation: str = 'bilinear',
        **kwargs,
    ):
        settings = dict(scale=scale, ratio_range=ratio_range, crop_size=crop_size)
        for name, pair in settings.items():
            if not _is_positive_pair(pair):
                raise ValueError(
                    f'LargeScaleJitter.{name} is {pair!r}; allowed: two numbers above 0'
                )
        super().__init__(crop_size, **kwargs)
        self.scale, self.ratio_range = scale, ratio_range
        self.resize = AntialiasedResize(scale, keep_ratio=True, interpolation=interpolation)
        self.offset = 0, 0

    def transform(self, results: dict) -> dict | None:
        """Resize and crop image, boxes and masks; return None as mmdet's `RandomCrop` does."""
        image = results['img']
        low, high = self.ratio_range
        ratio = np.random.random_sample() * (high - low) + low
        self.resize.scale = self.scale[0] * ratio, self.scale[1] * ratio
        results = self.resize(dict(results, img=image[..., :0]))  # without channels, only shapes
        whole = results['img_shape']
        results = super().transform(results)
        if results is not None:
            results['img'] = self._resized_part(image, whole, results['img_shape'])
        return results

    def _resized_part(
        self, image: np.ndarray, whole: tuple[int, int], part: tuple[int, int]
    ) -> np.ndarray:
        """Return the crop of size `part` at the drawn offset of the image resized to `whole`."""
        (top, left), (height, width) = self.offset, image.shape[:2]
        rows, columns = np.array([top, top + part[0]]), np.array([left, left + part[1]])
        (top, bottom), (left, right) = rows * height / whole[0], columns * width / whole[1]
        return resize_pixels(image, part, self.resize.interpolation, (left, top, right, bottom))

    def _rand_offset(self, margin: tuple[int, int]) -> tuple[int, int]:
        self.offset = super()._rand_offset(margin)
        return self.offset


def _is_positive_pair(pair: object) -> bool:
    if not isinstance(pair, Sequence) or len(pair) != 2:
        return False
    return all(isinstance(number, Real) and float(number) > 0 for number in pair)
