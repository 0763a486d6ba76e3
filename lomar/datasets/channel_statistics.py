"""Mean and deviation of the channels of a folder of images, which a model's config needs."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lomar.datasets.image_io import PixelFile, UnreadableImage, open_pixels
from lomar.datasets.unlabelled import list_images

Array = np.ndarray
BLOCK = 512  # side, in pixels, of what is read at a time; tiles of most files fit into it


@dataclass
class Statistics:
    """Of all pixels of the images read.

    Attributes:
        mean, std, low, high: float64, (C,) each; the deviation divides by the number of pixels.
        pixels: places, each of C numbers.
        dtypes: images by the type their pixels are given in.
        unreadable: reason by path.
    """

    channels: int
    pixels: int = 0
    dtypes: Counter = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.mean, self._squares = np.zeros((2, self.channels))
        self.low, self.high = np.full((2, self.channels), [[np.inf], [-np.inf]])

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(self._squares / max(self.pixels, 1))

    @property
    def constant(self) -> list[int]:
        """Channels, from 0, that have one value everywhere."""
        return np.flatnonzero(self.low == self.high).tolist()

    def add(self, pixels: np.ndarray) -> None:
        """Take (H, W, C) in."""
        values = pixels.reshape(-1, self.channels).astype(np.float64)
        mean = values.mean(axis=0)
        squares = np.square(values - mean).sum(axis=0)
        self._merge(len(values), mean, squares, values.min(axis=0), values.max(axis=0))

    def merge(self, other: 'Statistics') -> None:
        """Take all pixels of others in."""
        self._merge(other.pixels, other.mean, other._squares, other.low, other.high)

    def _merge(self, count: int, mean: Array, squares: Array, low: Array, high: Array) -> None:
        # Squares are of distances from a mean: a difference of large sums would lose digits.
        total, gap = self.pixels + count, mean - self.mean
        self._squares = self._squares + squares + gap**2 * (self.pixels * count / total)
        self.mean, self.pixels = self.mean + gap * (count / total), total
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)

    def record(self) -> dict:
        """Everything as plain numbers."""
        vectors = {name: getattr(self, name).tolist() for name in ('mean', 'std', 'low', 'high')}
        return dict(
            channels=self.channels,
            images=self.dtypes.total(),
            pixels=self.pixels,
            dtypes=dict(self.dtypes),
            **vectors,
            constant=self.constant,
            unreadable=self.unreadable,
        )


def channel_statistics(
    root: str | Path, samples: int | None = None, progress: bool = False
) -> Statistics:
    """Read the images of a folder, or of a text list, part by part.

    Args:
        samples: this many of them, drawn from a fixed seed; None for all.
        progress: a bar with the time that is left.

    Raises:
        FileNotFoundError: there are no images.
        ValueError: images of different numbers of channels, or none that can be read.
    """
    if samples is not None and samples < 1:
        raise ValueError(f'--samples is {samples}; allowed: 1 or more')
    paths = list_images(root)
    if samples is not None and samples < len(paths):
        drawn = np.random.default_rng(0).choice(len(paths), samples, replace=False)
        paths = [paths[i] for i in sorted(drawn)]
    found, first, unreadable = None, None, {}
    for path in tqdm(paths, unit=' images', disable=not progress):
        try:
            with open_pixels(path) as file:
                if found is None:
                    found, first = Statistics(file.channels), path
                _check_same(file, path, found.channels, first)
                found.merge(_of_file(file))  # all of a file, or nothing where it is damaged
                found.dtypes[file.dtype.name] += 1
        except UnreadableImage as error:
            unreadable[error.path] = error.reason
    if found is None or not found.pixels:
        lines = '\n'.join(f'  {path}: {reason}' for path, reason in list(unreadable.items())[:5])
        raise ValueError(f'none of {len(paths)} images in {root} can be read:\n{lines}')
    found.unreadable = unreadable
    return found


def _of_file(file: PixelFile) -> Statistics:
    part = Statistics(file.channels)
    for top in range(0, file.height, BLOCK):
        for left in range(0, file.width, BLOCK):
            sides = min(BLOCK, file.height - top), min(BLOCK, file.width - left)
            part.add(file.read(top, left, *sides))
    return part


def _check_same(file: PixelFile, path: str, channels: int, first: str) -> None:
    if file.channels != channels:
        raise ValueError(
            f'{path} has {file.channels} channels, {first} has {channels}; allowed: the same '
            'number in all images'
        )
