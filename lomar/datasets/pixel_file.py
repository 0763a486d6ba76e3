"""Open image files of any number of channels, of which parts are read."""

from abc import ABC, abstractmethod

import numpy as np

from lomar.datasets.shard_images import ImageFile
from lomar.datasets.unreadable import reasons

KEPT = ('uint8', 'uint16')  # all other numeric types become float32


class PixelFile(ABC):
    """Open image file with its size in pixels and its `dtype`: uint8, uint16 or float32."""

    path: ImageFile
    height: int
    width: int
    channels: int
    dtype: np.dtype

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return a part of the image, (height, width, C) of `dtype`; nodata values become 0.

        Raises:
            UnreadableImage: the part is damaged, or has NaN or infinite values.
            ValueError: the part is empty or not within the image.
        """
        inside = 0 <= top < top + height <= self.height and 0 <= left < left + width <= self.width
        if not inside:
            raise ValueError(
                f'a part of {height} x {width} pixels from row {top}, column {left} on; allowed: '
                f'within the image of {self.height} x {self.width}'
            )
        with reasons(self.path):
            part = self._part(top, left, height, width)
            with np.errstate(over='ignore'):  # numbers too large for float32 become infinite
                pixels = np.array(part, self.dtype, order='C')
            bad = np.count_nonzero(~np.isfinite(pixels)) if self.dtype.kind == 'f' else 0
            if bad:
                raise ValueError(
                    f'{bad} of {pixels.size} numbers are NaN or infinite; allowed: finite ones, '
                    'and in a TIFF file the value that it declares as nodata'
                )
            return pixels

    @abstractmethod
    def _part(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return a part of the image as the decoder gives it."""


class ArrayFile(PixelFile):
    """Array in memory or mapped into memory."""

    def __init__(self, path: ImageFile, array: np.ndarray):
        self.path = path
        if array.ndim not in (2, 3) or not array.size:
            raise ValueError(f'an array of {array.shape}; allowed: (H, W) or (H, W, C)')
        self.array = array if array.ndim == 3 else array[..., None]
        self.dtype = dtype_read(array.dtype)
        self.height, self.width, self.channels = self.array.shape

    def _part(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        return self.array[top : top + height, left : left + width]


def dtype_read(dtype: np.dtype) -> np.dtype:
    """Return the dtype in which pixels of a file's dtype are read."""
    if dtype.name in KEPT:
        return np.dtype(dtype.name)  # in the machine's byte order
    if dtype.kind in 'iuf':
        return np.dtype('float32')
    raise ValueError(f'pixels are {dtype}; allowed: integers and floats of up to 64 bits')
