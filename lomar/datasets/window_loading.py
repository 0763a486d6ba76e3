"""Load windows of images as images of their own, and images at their native size."""

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from lomar.datasets.color import check_value_range
from lomar.datasets.image_io import open_pixels
from lomar.datasets.pixel_type import PixelType
from lomar.datasets.random_resized_crop import Crop, LoadRandomResizedCrop, add_image, read_resized
from lomar.datasets.unreadable import UnreadableImage
from lomar.utils import check_least


def draw_places(rows: int, columns: int, number: int) -> list[tuple[int, int]]:
    """Return `number` distinct places (row, column) of a grid, each place equally likely."""
    return [divmod(place, columns) for place in random.sample(range(rows * columns), number)]


@TRANSFORMS.register_module()
class LoadWindows(BaseTransform):
    """Pipeline step that loads windows of an image file; the model gets each as an image.

    Without `scale`, windows have the file's resolution, dtype and channels and lie at any pixel.
    Only the pixels, tiles or strips that a window touches are decoded of .npy and TIFF files;
    other files are decoded whole. With `scale`, windows lie on the patch grid of a random resized
    crop, of which only the windows are resized; the same random state draws the crop and flip of
    `LoadRandomResizedCrop`. Windows of an image lie at distinct places, each equally likely, and
    may overlap. All windows of an image are mirrored, or none.

    Args:
        size: side of a window in pixels; with `scale` a multiple of `patch_size`.
        number: windows per image.
        channels: see `LoadImage`.
        scale: side, or (height, width), of the whole resized crop in pixels; None = no crop.
        patch_size: patch size of the backbone; required with `scale`.
        flip_prob: probability that an image is mirrored.
        crop: other arguments of `LoadRandomResizedCrop`, allowed with `scale`.
    """

    def __init__(
        self,
        size: int,
        number: int,
        channels: int = 3,
        scale: int | tuple[int, int] | None = None,
        patch_size: int | None = None,
        flip_prob: float = 0.5,
        **crop,
    ):
        check_least('LoadWindows', size=size, number=number, channels=channels)
        self.size, self.number, self.channels, self.flip_prob = size, number, channels, flip_prob
        self.crop, self.patch_size, self.reads_arrays = None, patch_size or 0, True
        self.pixel_type = PixelType()
        if scale is not None:
            self.crop = LoadRandomResizedCrop(scale, channels=channels, **crop)
            self.reads_arrays = self.crop.reads_arrays
            self.grid = self._grid(scale, self.patch_size)
        elif crop or patch_size is not None:
            keys = ', '.join(crop) or 'patch_size'
            raise ValueError(f'LoadWindows.{keys} is set without `scale`; allowed: only with it')

    def transform(self, results: dict) -> dict:
        """Add `img`, (number, C, size, size), its shapes, flip and `places`.

        `places` (number, 2) are row and column of each window's top-left pixel in the file, or in
        the resized crop. A file with fewer places than windows counts as unreadable.
        """
        path, size, step = results['img_path'], self.size, self.patch_size
        if self.crop is None:
            windows, places, whole = self._native(path)
        else:
            places = [(row * step, col * step) for row, col in draw_places(*self.grid, self.number)]
            windows, whole = self.crop.read(path, [(top, left, size, size) for top, left in places])
        add_image(results, windows, windows.shape[1:3], whole, self.flip_prob)
        img = np.ascontiguousarray(results['img'].transpose(0, 3, 1, 2))
        results.update(img=img, places=np.array(places))
        return results

    def _native(self, path: str) -> tuple[np.ndarray, list[tuple[int, int]], tuple[int, int]]:
        """Return windows (number, size, size, C) of a file, their places, and (height, width)."""
        size = self.size
        with open_pixels(path, self.channels) as file:
            self.pixel_type.check(path, file.dtype)
            rows, columns = file.height - size + 1, file.width - size + 1
            if min(rows, columns) < 1 or rows * columns < self.number:
                raise UnreadableImage(
                    path,
                    f'{file.height} x {file.width} pixels; allowed with LoadWindows.size={size} '
                    f'and number={self.number}: at least {size} x {size} and as many places as '
                    'windows',
                )
            places = draw_places(rows, columns, self.number)
            windows = np.stack([file.read(top, left, size, size) for top, left in places])
            return windows, places, (file.height, file.width)

    def _grid(self, scale: int | tuple[int, int], patch_size: int) -> tuple[int, int]:
        """Return rows and columns of places for a window in the resized crop."""
        check_least('LoadWindows', patch_size=patch_size)
        sides = (scale, scale) if isinstance(scale, int) else tuple(scale)
        if any(side % patch_size for side in (*sides, self.size)):
            raise ValueError(
                f'LoadWindows.scale is {scale} and size {self.size}; allowed: multiples of '
                f'patch_size={patch_size}'
            )
        rows, columns = (max(0, (side - self.size) // patch_size + 1) for side in sides)
        if rows * columns < self.number:
            raise ValueError(
                f'LoadWindows.number is {self.number}, and windows of size={self.size} have '
                f'{rows * columns} places in scale={scale}; allowed: at most one per place'
            )
        return rows, columns


@TRANSFORMS.register_module()
class LoadNative(BaseTransform):
    """Pipeline step that loads an image at its own size or smaller, cut to whole patches.

    Sizes differ, so the dataloader needs `collate_fn=dict(type='pseudo_collate')`.

    Args:
        patch_size: patch size of the backbone in pixels.
        min_grid: least number of patches of the shorter side; windows of K x K patches have at
            least (min_grid - K + 1) ** 2 places. A smaller image counts as unreadable: images are
            never enlarged.
        max_side: pixels to which the longer side is shrunk at constant aspect ratio, unless the
            shorter side would have fewer than `min_grid` patches; None = no limit.
        flip_prob: probability that an image is mirrored.
        value_range: see `LoadImage`.
    """

    def __init__(
        self,
        patch_size: int,
        min_grid: int,
        max_side: int | None = None,
        flip_prob: float = 0.5,
        value_range: Sequence[float] | None = None,
    ):
        check_least('LoadNative', patch_size=patch_size, min_grid=min_grid)
        check_value_range('LoadNative', value_range, convert=True)
        self.patch_size, self.flip_prob, self.value_range = patch_size, flip_prob, value_range
        self.reads_arrays = value_range is not None
        self.min_side, self.max_side = min_grid * patch_size, max_side
        if max_side is not None and max_side < self.min_side:
            raise ValueError(
                f'LoadNative.max_side is {max_side}; allowed: at least min_grid x patch_size = '
                f'{self.min_side}'
            )

    def transform(self, results: dict) -> dict:
        """Add `img`, (H, W, 3) uint8 in the order R, G, B, its shapes and flip."""
        path = results['img_path']
        choose = partial(self._choose, path)
        pixels, whole = read_resized(path, choose, value_range=self.value_range)
        return add_image(results, pixels, pixels.shape[:2], whole, self.flip_prob)

    def _choose(self, path: str | Path, width: int, height: int) -> tuple[Crop, tuple[int, int]]:
        """Return a random crop of whole patches and its size after shrinking."""
        if min(width, height) < self.min_side:
            raise UnreadableImage(
                path,
                f'{height} x {width} pixels; allowed by LoadNative.min_grid: sides of at least '
                f'{self.min_side}',
            )
        ratio = min(1, (self.max_side or max(width, height)) / max(width, height))
        ratio = max(ratio, self.min_side / min(width, height))
        # 1e-6: rounding errors must not cost a patch where the exact side is a whole number.
        whole = height, width
        size = [int(s * ratio + 1e-6) // self.patch_size * self.patch_size for s in whole]
        crop = [min(round(new / ratio), old) for new, old in zip(size, whole, strict=True)]
        top, left = (np.random.randint(a - b + 1) for a, b in zip(whole, crop, strict=True))
        return (top, left, crop[0], crop[1]), (size[0], size[1])
