"""Read image files: as 8-bit RGB, or as they are, with any number of channels, whole or in part."""

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from lomar.datasets.color import BITS, array_to_rgb, deep_png, other_numbers, to_grey, to_rgb
from lomar.datasets.orientation import load
from lomar.datasets.pixel_limit import check_size
from lomar.datasets.shard_images import ImageBytes, ImageFile, first_bytes, opened

NOT_RGB = (
    ' (arrays, and TIFF files that Pillow cannot read, need `channels` or convert=False, or '
    'value_range, the values of black and white: docs/data.md)'
)
NPY = b'\x93NUMPY'
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # classic and BigTIFF, in both byte orders
KEPT = ('uint8', 'uint16')  # all other numeric types become float32
# GDAL must not read other files that a file names or that lie beside it. Every worker process has
# its own cache of decoded tiles, which by default takes 5 % of the memory.
GDAL = dict(GDAL_DISABLE_READDIR_ON_OPEN='EMPTY_DIR', GDAL_PAM_ENABLED='NO', GDAL_CACHEMAX=64)
INSTALL = 'pip install lomar-openmmlab[rasters]'


class UnreadableImage(OSError):
    """Error for a file that is missing, damaged or not an image."""

    def __init__(self, path: ImageFile, reason: object):
        super().__init__(f'{path}: {reason}')
        self.path, self.reason = str(path), str(reason)

    def __reduce__(self) -> tuple:
        """Keep both arguments in a pickle, which processes send to each other."""
        return type(self), (self.path, self.reason)


# Errors of one image, after which commands continue with the next image. ImportError: a TIFF file
# that needs rasterio.
IMAGE_ERRORS = UnreadableImage, ImportError, ValueError


def read_rgb(path: ImageFile, value_range: Sequence[float] | None = None) -> Image.Image:
    """Return an image file as 8-bit RGB, converted by `to_rgb`.

    Args:
        path: path of a file, or a `ShardImage`.
        value_range: values of black and white in files of other than 8 bits. With them, arrays and
            all TIFF files of 1 or 3 channels can be read.

    Raises:
        ImportError: the file is a TIFF that Pillow cannot read, and rasterio is not installed.
        OSError: the shard of a `ShardImage` cannot be read, see `read_range`.
        UnreadableImage: the file cannot be decoded; the error has the decoder's reason.
    """
    path = opened(path)
    with reasons(path):
        try:
            with Image.open(path) as image:
                if value_range is not None and (deep := _deep(path, image)) is not None:
                    return Image.fromarray(array_to_rgb(deep, value_range))
                load(image)
                return to_rgb(image, value_range)
        except UnidentifiedImageError as error:
            if Path(str(path)).suffix.lower() not in ('.npy', '.tif', '.tiff'):
                raise
            if value_range is None:
                raise UnidentifiedImageError(f'{error}{NOT_RGB}') from None
            return Image.fromarray(array_to_rgb(_one_or_three(path), value_range))


def _deep(path: ImageFile, image: Image.Image) -> np.ndarray | None:
    """Return the numbers of an image of 3 x 16 bits, or None."""
    if image.mode == 'RGB' and getattr(image, 'tag_v2', {}).get(BITS) == (16, 16, 16):
        return _one_or_three(path)
    return deep_png(path, image)


def has_8_bits(path: ImageFile) -> bool:
    """Return whether `read_rgb`, which can read the file, needs no `value_range` and ignores it."""
    path = opened(path)
    try:
        with Image.open(path) as image:
            return _deep(path, image) is None and other_numbers(image) is None
    except UnidentifiedImageError:
        return False


def _one_or_three(path: ImageFile) -> np.ndarray:
    pixels = read_pixels(path)
    if pixels.shape[2] not in (1, 3):
        raise ValueError(f'there are {pixels.shape[2]} channels; allowed for 8-bit RGB: 1 or 3')
    return pixels


def is_readable(path: ImageFile) -> bool:
    """Return whether `read_rgb` can read a file."""
    try:
        read_rgb(path)
    except UnreadableImage:
        return False
    return True


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


@contextmanager
def open_pixels(path: ImageFile, channels: int | None = None) -> Iterator[PixelFile]:
    """Open an image file: `.npy` (H, W) or (H, W, C), TIFF, or any file that `read_rgb` decodes.

    Files that are neither arrays nor TIFF have 3 channels, 8-bit RGB; grey ones have one channel of
    8 or 16 bits if `channels` is 1. The format is detected from the file's contents, not its
    extension. The channels of a TIFF file are its bands, or its pages of one band each. `read`
    decodes only the requested part of arrays and of TIFF files in tiles or strips.

    Args:
        path: path of a file, or a `ShardImage`, whose bytes are read at once.
        channels: number of channels that the file must have; None = any.

    Raises:
        ImportError: the file is a TIFF that is not 8-bit RGB, and rasterio is not installed.
        OSError: the shard of a `ShardImage` cannot be read, see `read_range`.
        UnreadableImage: the file is missing, damaged, or holds no pixel values.
        ValueError: the file has another number of channels.
    """
    path = opened(path)
    with ExitStack() as stack:
        with reasons(path):
            start = first_bytes(path, len(NPY))
            if start == NPY:
                file: PixelFile = ArrayFile(path, _load_array(path))
            elif start.startswith(TIFF):
                file = _open_tiff(path, stack, channels)
            else:
                file = ArrayFile(path, _decoded(path, channels))
        if channels is not None:
            check_channels(path, (file.height, file.width, file.channels), channels)
        yield file


def read_pixels(path: ImageFile, channels: int | None = None) -> np.ndarray:
    """Return a whole image (H, W, C); errors are those of `open_pixels` and `PixelFile.read`.

    The number of pixels has Pillow's limit, an `UnreadableImage`.
    """
    with open_pixels(path, channels) as file:
        with reasons(path):
            check_size(file.height, file.width)
        return file.read(0, 0, file.height, file.width)


def array_pixels(array: np.ndarray) -> np.ndarray:
    """Return an array (H, W) or (H, W, C) as pixels (H, W, C), as if they were read from a file."""
    file = ArrayFile('an array', array)
    return file.read(0, 0, file.height, file.width)


def check_channels(name: ImageFile, shape: tuple[int, ...], channels: int) -> None:
    """Raise a ValueError, which stops a run, if an image (H, W, C) has not `channels` channels."""
    if shape[2] != channels:
        raise ValueError(
            f'{name} has {shape[2]} channels, (H, W, C) = {shape}; allowed: the {channels} of the '
            'model; convert the file, or train with model.backbone.in_channels (and `channels`, if '
            'the loader in the pipeline has the key) of its number'
        )


def _load_array(path: ImageFile) -> np.ndarray:
    """Return a `.npy` file, of which only the parts that are used are read from a disk."""
    if isinstance(path, ImageBytes):
        path.seek(0)
        return np.load(path, allow_pickle=False)
    return np.load(path, mmap_mode='r', allow_pickle=False)


def _decoded(path: ImageFile, channels: int | None) -> np.ndarray:
    """Return a file that Pillow decodes: grey for one channel, otherwise 8-bit RGB."""
    if channels != 1:
        return np.asarray(read_rgb(path))
    with Image.open(path) as image:
        load(image)
        return to_grey(image)


@contextmanager
def reasons(path: ImageFile) -> Iterator[None]:
    """Turn errors of decoders into `UnreadableImage`."""
    try:
        yield
    except (UnreadableImage, ImportError, MemoryError):
        raise
    except Exception as error:  # decoders of damaged files raise errors of many types
        reason = error.__cause__ or error  # rasterio's own error only refers to its cause
        raise UnreadableImage(path, f'{type(reason).__name__}: {reason}') from error


class ArrayFile(PixelFile):
    """Array in memory or mapped into memory."""

    def __init__(self, path: ImageFile, array: np.ndarray):
        self.path = path
        if array.ndim not in (2, 3) or not array.size:
            raise ValueError(f'an array of {array.shape}; allowed: (H, W) or (H, W, C)')
        self.array = array if array.ndim == 3 else array[..., None]
        self.dtype = _dtype_read(array.dtype)
        self.height, self.width, self.channels = self.array.shape

    def _part(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        return self.array[top : top + height, left : left + width]


class _RasterFile(PixelFile):
    """TIFF file with one page of several bands, or with pages of one band each."""

    def __init__(self, path: ImageFile, pages: Sequence[Any]):
        self.path, self.pages = path, pages
        kinds = {(page.height, page.width, *page.dtypes) for page in pages}
        if len(pages) > 1 and (len(kinds) > 1 or pages[0].count > 1):
            raise ValueError(
                f'{len(pages)} pages of (height, width, *bands) {sorted(kinds)[:3]}; allowed: one '
                'page, or pages of one band each, of one size and one type'
            )
        if 'palette' in (interpretation.name for interpretation in pages[0].colorinterp):
            raise ValueError('pixels are indices of a palette; write the colors as bands')
        self.height, self.width, *_ = pages[0].shape
        self.channels = sum(page.count for page in pages)
        self.dtype = _dtype_read(np.dtype(pages[0].dtypes[0]))

    def _part(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        window = ((top, top + height), (left, left + width))
        bands = np.concatenate([page.read(window=window) for page in self.pages])
        declared = [value for page in self.pages for value in page.nodatavals]
        for band, nodata in zip(bands, declared, strict=True):
            if nodata is not None:
                band[np.isnan(band) if np.isnan(nodata) else band == nodata] = 0
        return bands.transpose(1, 2, 0)


def _open_tiff(path: ImageFile, stack: ExitStack, channels: int | None) -> PixelFile:
    """Return a TIFF file, open until `stack` is closed."""
    try:
        import rasterio  # imported late: 8-bit RGB does not need GDAL
    except ImportError as error:
        with suppress(UnidentifiedImageError), Image.open(path) as image:
            known = image.mode == 'RGB' or (channels == 1 and image.mode in ('L', 'I;16'))
            if known and getattr(image, 'n_frames', 1) == 1:
                return ArrayFile(path, _decoded(path, channels))
        raise ImportError(f'{path} is a TIFF file other than 8-bit RGB: {INSTALL}') from error
    stack.enter_context(rasterio.Env(**GDAL))
    if isinstance(path, ImageBytes):
        memory = rasterio.MemoryFile(path.getvalue(), filename='image.tif')
        place: Any = stack.enter_context(memory).name
    else:  # as a path, an address such as https://... is only the name of a file
        place = Path(os.path.abspath(path))
    first = stack.enter_context(_dataset(rasterio, place))
    # Names are GTIFF_DIR:n:path in alphabetical order, so that the tenth precedes the second.
    names = sorted(first.subdatasets, key=lambda name: int(name.split(':')[1]))
    pages = [stack.enter_context(_dataset(rasterio, name)) for name in names]
    return _RasterFile(path, pages or [first])


def _dataset(rasterio: Any, name: str | Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(name, driver='GTiff')


def _dtype_read(dtype: np.dtype) -> np.dtype:
    """Return the dtype in which pixels of a file's dtype are read."""
    if dtype.name in KEPT:
        return np.dtype(dtype.name)  # in the machine's byte order
    if dtype.kind in 'iuf':
        return np.dtype('float32')
    raise ValueError(f'pixels are {dtype}; allowed: integers and floats of up to 64 bits')
