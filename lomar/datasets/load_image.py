"""Images of any number of channels in a pipeline: whole ones, and random crops at one size."""

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from lomar.datasets.image_io import PixelFile, open_pixels, read_rgb
from lomar.datasets.random_resized_crop import LoadRandomResizedCrop
from lomar.datasets.resize import resize_pixels


@TRANSFORMS.register_module()
class LoadRGB(BaseTransform):
    """Read `img_path` into `img`, (H, W, 3) uint8 in the order R, G, B.

    mmcv's own loader returns B, G, R and cannot read CMYK or palette images with transparency.
    """

    def transform(self, results: dict) -> dict:
        """Add `img`, `img_shape` and `ori_shape` (height, width)."""
        results['img'] = np.array(read_rgb(results['img_path']))
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results


@TRANSFORMS.register_module()
class LoadChannels(BaseTransform):
    """Read `img_path` into `img`, (H, W, C) uint8, uint16 or float32, as `open_pixels` says.

    Args:
        channels: C, which every file must have.
        short_side: in pixels, to which the image is resized, antialiased; None leaves it as it is.
    """

    def __init__(self, channels: int, short_side: int | None = None):
        self.channels, self.short_side = channels, short_side

    def transform(self, results: dict) -> dict:
        """Add `img`, `img_shape` and `ori_shape` (height, width).

        Raises:
            UnreadableImage: where `open_pixels` does.
            ValueError: another number of channels.
        """
        with open_pixels(results['img_path']) as file:
            check_channels(file, results['img_path'], self.channels)
            whole = file.height, file.width
            pixels = file.read(0, 0, *whole)
        if self.short_side:
            ratio = self.short_side / min(whole)
            pixels = resize_pixels(pixels, tuple(round(side * ratio) for side in whole))
        results.update(img=pixels, img_shape=pixels.shape[:2], ori_shape=whole)
        return results


@TRANSFORMS.register_module()
class LoadRandomResizedCropChannels(LoadRandomResizedCrop):
    """`LoadRandomResizedCrop` for (H, W, C) uint8, uint16 or float32; only the crop is decoded.

    The same random state draws the same crop and flip. Bicubic, antialiased; whole numbers are
    rounded and stay in the range of their type.

    Args:
        channels: C, which every file must have.
        kwargs: those of `LoadRandomResizedCrop`.
    """

    def __init__(self, channels: int, scale: int | tuple[int, int], **kwargs):
        super().__init__(scale, **kwargs)
        self.channels = channels

    def _read(self, path: str | Path) -> tuple[np.ndarray, tuple[int, int]]:
        with open_pixels(path) as file:
            check_channels(file, path, self.channels)
            crop, size = self._draw(file.width, file.height)
            return resize_pixels(file.read(*crop), size), (file.width, file.height)


def check_channels(file: PixelFile, path: str | Path, channels: int) -> None:
    """Raise a ValueError, which stops a run, where a file has not the channels of the config."""
    if file.channels != channels:
        raise ValueError(
            f'{path} has {file.channels} channels, (H, W, C) = ({file.height}, {file.width}, '
            f'{file.channels}); allowed: the {channels} of the pipeline; set `channels` of its '
            'first transform and backbone.in_channels, or convert the file'
        )


def fit_pixels(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Center-crop (H, W, C) to the aspect ratio of `size` = (height, width), and resize to it."""
    scale = max(want / side for want, side in zip(size, pixels.shape, strict=False))
    sides = [max(1, round(want / scale)) for want in size]
    top, left = ((side - part) // 2 for side, part in zip(pixels.shape, sides, strict=False))
    return resize_pixels(pixels[top : top + sides[0], left : left + sides[1]], size)
