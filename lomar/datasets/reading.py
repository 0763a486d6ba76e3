"""How the loaders of a config read image files: converted to 8-bit RGB, or as they are."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lomar.datasets.image_io import open_pixels, read_pixels, read_rgb
from lomar.datasets.pixel_file import PixelFile
from lomar.datasets.rgb_parts import open_rgb
from lomar.utils import dicts_in, type_name

LOADERS = ('LoadImage', 'LoadRandomResizedCrop', 'LoadWindows')  # with the key `channels`
# Names that loaders had before version 0.2, which configs inside of old checkpoints still use.
RENAMED: dict[str, dict] = {
    'LoadRGB': dict(type='LoadImage'),
    'LoadChannels': dict(type='LoadImage', convert=False),
    'LoadRandomResizedCropChannels': dict(type='LoadRandomResizedCrop', convert=False),
    'LoadRegions': dict(type='LoadWindows'),
    'LoadCropRegions': dict(type='LoadWindows'),
}


class Reading(NamedTuple):
    """How image files are read.

    Attributes:
        channels: number of channels that a file must have.
        convert: whether files are converted to 8-bit RGB as by `read_rgb`; otherwise dtype and
            channels are those of the file, see `open_pixels`.
        value_range: values of black and white in converted images of other than 8 bits, or None.
    """

    channels: int = 3
    convert: bool = True
    value_range: Sequence[float] | None = None

    @property
    def reads_arrays(self) -> bool:
        """Return whether `.npy` files are images."""
        return not self.convert or self.value_range is not None

    def read(self, path: str | Path) -> np.ndarray:
        """Return the pixels (H, W, C) of a file."""
        if self.convert:
            return np.array(read_rgb(path, self.value_range))
        return read_pixels(path, self.channels)

    def open(self, path: str | Path) -> AbstractContextManager[PixelFile]:
        """Open a file whose parts are those of what `read` returns, and are decoded alone."""
        if self.convert:
            return open_rgb(path, self.value_range)
        return open_pixels(path, self.channels)


def converts(channels: int, convert: bool | None) -> bool:
    """Return whether a loader converts files to 8-bit RGB; its default is `channels == 3`."""
    if convert and channels != 3:
        raise ValueError(f'convert is True and channels {channels}; allowed: 3 for 8-bit RGB')
    return channels == 3 if convert is None else convert


def training_reading(config: Mapping) -> Reading | None:
    """Return how the first loader of a config's training dataloader reads image files.

    None without a loader of this package.
    """
    for given in dicts_in(config.get('train_dataloader')):
        name = type_name(given)
        step = {**given, **RENAMED.get(name, dict(type=name))}
        channels = step.get('channels', 3)
        value_range = step.get('value_range', config.get('value_range'))
        if step['type'] == 'LoadNative':
            return Reading(value_range=value_range)
        if step['type'] == 'LoadWindows' and step.get('scale') is None:
            return Reading(channels, False)
        if step['type'] in LOADERS:
            return Reading(channels, converts(channels, step.get('convert')), value_range)
    return None
