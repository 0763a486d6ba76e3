"""Parts of images that become images of their own, and images as large as they are."""

import random
from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from lomar.datasets.image_io import UnreadableImage, open_pixels
from lomar.datasets.load_image import check_channels
from lomar.datasets.random_resized_crop import Crop, LoadRandomResizedCrop, read_resized


def draw_places(rows: int, columns: int, number: int) -> list[tuple[int, int]]:
    """`number` distinct places (row, column) below `rows` and `columns`, each equally likely."""
    return [divmod(place, columns) for place in random.sample(range(rows * columns), number)]


@TRANSFORMS.register_module()
class LoadRegions(BaseTransform):
    """Read regions of an image file at its own resolution, and nothing else of it where possible.

    Of .npy and TIFF files only the pixels, tiles or strips that a region touches are decoded; other
    files are decoded whole. Regions lie at distinct places, to the pixel, each equally likely; they
    may overlap. All regions of an image are mirrored, or none.

    Args:
        channels: C, which every file must have.
        size: side of a region in pixels; that of a window shows the model what it needs, no more.
        number: regions of an image, each an image to the model.
        flip_prob: share of the images that are mirrored.
    """

    def __init__(self, channels: int, size: int, number: int, flip_prob: float = 0.5):
        _check_least('LoadRegions', channels=channels, size=size, number=number)
        self.channels, self.size, self.number = channels, size, number
        self.flip_prob = flip_prob

    def transform(self, results: dict) -> dict:
        """Add `img`, (number, C, size, size) in the file's number format, and what describes it.

        `places` are row and column of each region's top-left pixel in the file, (number, 2).

        Raises:
            UnreadableImage: the file is damaged, or has fewer than `number` places for a region.
            ValueError: another number of channels.
        """
        size = self.size
        with open_pixels(results['img_path']) as file:
            check_channels(file, results['img_path'], self.channels)
            places = self._draw(results['img_path'], file.height, file.width)
            regions = np.stack([file.read(top, left, size, size) for top, left in places])
        flip = np.random.random() < self.flip_prob
        return _add_regions(results, regions, places, (file.height, file.width), flip)

    def _draw(self, path: str, height: int, width: int) -> list[tuple[int, int]]:
        rows, columns = height - self.size + 1, width - self.size + 1
        if min(rows, columns) < 1 or rows * columns < self.number:
            raise UnreadableImage(
                path,
                f'{height} x {width} pixels; allowed with LoadRegions.size={self.size} and '
                f'number={self.number}: at least {self.size} x {self.size} and as many places as '
                'regions',
            )
        return draw_places(rows, columns, self.number)


@TRANSFORMS.register_module()
class LoadCropRegions(LoadRandomResizedCrop):
    """`LoadRandomResizedCrop`, of which only regions are resized and kept.

    The same random state draws the same crop and flip. Regions lie at distinct places of the patch
    grid, each equally likely, as `lomar.models.windows.sample_windows` draws windows.

    Args:
        scale: side, or (height, width), to which the crop would be resized, in pixels.
        size: side of a region in pixels, a multiple of `patch_size`.
        number: regions of an image, each an image to the model.
        patch_size: of the backbone.
        settings: the others of `LoadRandomResizedCrop`.

    Raises:
        ValueError: sides that are no whole patches, or fewer than `number` places.
    """

    def __init__(
        self, scale: int | tuple[int, int], size: int, number: int, patch_size: int, **settings
    ):
        super().__init__(scale, **settings)
        _check_least('LoadCropRegions', size=size, number=number, patch_size=patch_size)
        self.size, self.number, self.patch_size = size, number, patch_size
        self.scale = (scale, scale) if isinstance(scale, int) else tuple(scale)
        if any(side % patch_size for side in (*self.scale, size)):
            raise ValueError(
                f'LoadCropRegions.scale is {scale} and size {size}; allowed: multiples of '
                f'patch_size={patch_size}'
            )
        self.grid = tuple((side - size) // patch_size + 1 for side in self.scale)
        if min(self.grid) < 1 or self.grid[0] * self.grid[1] < number:
            raise ValueError(
                f'LoadCropRegions.number is {number}, and regions of size={size} have '
                f'{max(0, self.grid[0]) * max(0, self.grid[1])} places in scale={scale}; allowed: '
                'at most one a place'
            )

    def transform(self, results: dict) -> dict:
        """As `LoadRegions`, with 3 channels of uint8; `places` are those in the resized crop.

        Raises:
            UnreadableImage: where `read_rgb` does.
        """
        size, step = self.size, self.patch_size
        places = [(row * step, col * step) for row, col in draw_places(*self.grid, self.number)]
        boxes = [(top, left, size, size) for top, left in places]
        regions, whole = read_resized(results['img_path'], self._draw, boxes)
        flip = np.random.random() < self.flip_prob
        return _add_regions(results, regions, places, whole[::-1], flip)


@TRANSFORMS.register_module()
class LoadNative(BaseTransform):
    """Read an image as large as it is or smaller, less what exceeds whole patches.

    The loader needs `collate_fn=dict(type='pseudo_collate')`, as sizes differ.

    Args:
        patch_size: of the backbone, in pixels.
        min_grid: patches of the shorter side; windows of K patches have (min_grid - K + 1) ** 2
            places at least. A smaller image counts as unreadable: it is never enlarged.
        max_side: pixels to which the longer side is shrunk, keeping the aspect ratio, unless the
            shorter side would have fewer than `min_grid` patches; None for no limit.
        flip_prob: share of the images that are mirrored.
    """

    def __init__(
        self,
        patch_size: int,
        min_grid: int,
        max_side: int | None = None,
        flip_prob: float = 0.5,
    ):
        _check_least('LoadNative', patch_size=patch_size, min_grid=min_grid)
        self.patch_size, self.flip_prob = patch_size, flip_prob
        self.min_side, self.max_side = min_grid * patch_size, max_side
        if max_side is not None and max_side < self.min_side:
            raise ValueError(
                f'LoadNative.max_side is {max_side}; allowed: at least min_grid x patch_size = '
                f'{self.min_side}'
            )

    def transform(self, results: dict) -> dict:
        """Add `img`, (H, W, 3) uint8 in the order R, G, B, and what describes it.

        Raises:
            UnreadableImage: where `read_rgb` does, and for an image that is too small.
        """
        path = results['img_path']
        pixels, whole = read_resized(path, lambda *size: self._choose(path, *size))
        flip = np.random.random() < self.flip_prob
        results.update(
            img=pixels[:, ::-1] if flip else pixels,
            img_shape=pixels.shape[:2],
            ori_shape=whole[::-1],
            flip=flip,
            flip_direction='horizontal' if flip else None,
        )
        return results

    def _choose(self, path: str | Path, width: int, height: int) -> tuple[Crop, tuple[int, int]]:
        if min(width, height) < self.min_side:
            raise UnreadableImage(
                path,
                f'{height} x {width} pixels; allowed by LoadNative.min_grid: sides of at least '
                f'{self.min_side}',
            )
        ratio = min(1, (self.max_side or max(width, height)) / max(width, height))
        ratio = max(ratio, self.min_side / min(width, height))
        # The least bit more: a side that is a whole number on paper must not lose a patch.
        size = [int(side * ratio + 1e-6) // self.patch_size for side in (height, width)]
        size = [patches * self.patch_size for patches in size]
        crop = [
            min(round(new / ratio), old) for new, old in zip(size, (height, width), strict=True)
        ]
        top, left = (
            np.random.randint(old - new + 1) for old, new in zip((height, width), crop, strict=True)
        )
        return (top, left, *crop), tuple(size)


def _add_regions(
    results: dict,
    regions: np.ndarray,
    places: list[tuple[int, int]],
    whole: tuple[int, int],
    flip: bool,
) -> dict:
    """Regions (R, h, w, C) as `PackInputs` takes them, and what is said of every image."""
    regions = regions[:, :, ::-1] if flip else regions
    results.update(
        img=np.ascontiguousarray(regions.transpose(0, 3, 1, 2)),
        img_shape=regions.shape[1:3],
        ori_shape=whole,
        places=np.array(places),
        flip=flip,
        flip_direction='horizontal' if flip else None,
    )
    return results


def _check_least(name: str, **settings: int) -> None:
    for key, value in settings.items():
        if value < 1:
            raise ValueError(f'{name}.{key} is {value}; allowed: 1 or more')
