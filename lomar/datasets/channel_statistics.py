"""Mean and standard deviation of the channels of a folder of images, for a model's config."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from lomar.datasets.color import check_value_range
from lomar.datasets.image_io import open_pixels
from lomar.datasets.pixel_file import PixelFile
from lomar.datasets.rgb_parts import open_rgb
from lomar.datasets.unlabelled import FILES, list_images
from lomar.datasets.unreadable import UnreadableImage

BLOCK = 512  # side in pixels of the blocks that are read; tiles of most files fit into one


@dataclass
class Statistics:
    """Statistics of every channel over all pixels of the images that were read.

    Attributes:
        mean, std, low, high: float64 (C,); the standard deviation divides by `count`.
        count: number of pixels.
        dtypes: number of images by dtype.
        unreadable: reason by path.
    """

    channels: int
    count: int = 0
    dtypes: Counter = field(default_factory=Counter)
    unreadable: dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        self.mean, self._squares = np.zeros((2, self.channels))
        self.low, self.high = np.full((2, self.channels), [[np.inf], [-np.inf]])

    @property
    def std(self) -> np.ndarray:
        return np.sqrt(self._squares / max(self.count, 1))

    @property
    def constant(self) -> list[int]:
        """Return the channels, from 0, that have one value everywhere."""
        return np.flatnonzero(self.low == self.high).tolist()

    def add(self, pixels: np.ndarray) -> None:
        """Include pixels (H, W, C)."""
        values = pixels.reshape(-1, self.channels).astype(np.float64)
        part = Statistics(self.channels, len(values))
        part.mean, part.low, part.high = values.mean(axis=0), values.min(axis=0), values.max(axis=0)
        part._squares = np.square(values - part.mean).sum(axis=0)
        self.merge(part)

    def merge(self, other: 'Statistics') -> None:
        """Include the pixels of other statistics."""
        # Sums of squared distances from a mean: a difference of large sums would lose digits.
        total, gap = self.count + other.count, other.mean - self.mean
        self._squares = self._squares + other._squares + gap**2 * (self.count * other.count / total)
        self.mean, self.count = self.mean + gap * (other.count / total), total
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)

    def record(self) -> dict:
        """Return everything as a JSON-compatible dict."""
        vectors = {name: getattr(self, name).tolist() for name in ('mean', 'std', 'low', 'high')}
        return dict(
            channels=self.channels,
            images=self.dtypes.total(),
            pixels=self.count,
            dtypes=dict(self.dtypes),
            **vectors,
            constant=self.constant,
            unreadable=self.unreadable,
        )


def channel_statistics(
    root: str | Path,
    samples: int | None = None,
    progress: bool = False,
    channels: int | None = None,
    value_range: Sequence[float] | None = None,
) -> Statistics:
    """Return the statistics of the images in a folder or text list, which are read in blocks.

    Args:
        samples: number of images to draw, with a fixed seed; None = all.
        progress: whether to show a progress bar.
        channels: number of channels of the model; 1 reads grey PNG and JPEG files as one channel.
        value_range: values of black and white, with which images are converted to 8-bit RGB; None =
            the numbers of the files.

    Raises:
        FileNotFoundError: there are no images.
        ValueError: images differ in the number of channels, or none can be read.
    """
    check_value_range('channel_statistics', value_range, channels in (None, 3))
    paths = list_images(root, arrays=True, advice=FILES)
    if samples is not None and samples < len(paths):
        drawn = np.random.default_rng(0).choice(len(paths), samples, replace=False)
        paths = [paths[i] for i in sorted(drawn)]
    found, first, unreadable = None, None, {}
    for path in tqdm(paths, unit=' images', disable=not progress):
        try:
            converted = value_range is not None
            with open_rgb(path, value_range) if converted else open_pixels(path, channels) as file:
                if found is None:
                    found, first = Statistics(file.channels), path
                if file.channels != found.channels:
                    raise ValueError(
                        f'{path} has {file.channels} channels, {first} has {found.channels}; '
                        f'allowed: the same number in all images{_grey(found.channels, file)}'
                    )
                found.merge(_of_file(file))  # nothing of a damaged file
                found.dtypes[file.dtype.name] += 1
        except (UnreadableImage, ImportError) as error:  # a TIFF file that needs rasterio
            unreadable[str(path)] = getattr(error, 'reason', str(error))
    if found is None or not found.count:
        lines = '\n'.join(f'  {path}: {reason}' for path, reason in list(unreadable.items())[:5])
        raise ValueError(f'none of {len(paths)} images in {root} can be read:\n{lines}')
    found.unreadable = unreadable
    return found


def _grey(channels: int, file: PixelFile) -> str:
    """Return the advice for grey files of several formats, or ''."""
    both = {channels, file.channels} == {1, 3}
    return '; --channels 1 reads grey PNG and JPEG files as one channel' if both else ''


def _of_file(file: PixelFile) -> Statistics:
    """Return the statistics of one image."""
    part = Statistics(file.channels)
    for top in range(0, file.height, BLOCK):
        for left in range(0, file.width, BLOCK):
            sides = min(BLOCK, file.height - top), min(BLOCK, file.width - left)
            part.add(file.read(top, left, *sides))
    return part
