"""Image files as RGB, or with any number of channels, 8-bit, 16-bit or float, and parts of them."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset(('.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.bmp', '.npy'))
NOT_RGB = ' (arrays and TIFF files of many channels are for LoadChannels, see docs/channels.md)'
NPY = b'\x93NUMPY'
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # classic and BigTIFF, in both byte orders
KEPT = ('uint8', 'uint16')  # all other real numbers become float32
# A file that names others, or lies beside others, makes GDAL read none of them; its cache of
# decoded tiles, by default 5 % of the memory, is there once in every worker process.
GDAL = dict(GDAL_DISABLE_READDIR_ON_OPEN='EMPTY_DIR', GDAL_PAM_ENABLED='NO', GDAL_CACHEMAX=64)
INSTALL = 'pip install lomar-openmmlab[rasters]'


class UnreadableImage(OSError):
    """A file that is missing, damaged or no image."""

    def __init__(self, path: str | Path, reason: object):
        super().__init__(f'{path}: {reason}')
        self.path, self.reason = str(path), str(reason)


def read_rgb(path: str | Path) -> Image.Image:
    """Decode an image file as `to_rgb` says.

    Raises:
        UnreadableImage: with the decoder's reason.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return to_rgb(image)
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise all sorts
        foreign = Path(path).suffix.lower() in ('.npy', '.tif', '.tiff')
        hint = NOT_RGB if foreign and isinstance(error, UnidentifiedImageError) else ''
        raise UnreadableImage(path, f'{type(error).__name__}: {error}{hint}') from error


def is_readable(path: str | Path) -> bool:
    """Whether `read_rgb` can read a file."""
    try:
        read_rgb(path)
    except UnreadableImage:
        return False
    return True


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to 8-bit RGB, upright.

    Grey, palette and CMYK images are converted, 16-bit grey is scaled to 8, transparency is laid
    over white, and the EXIF orientation is applied.

    Raises:
        ValueError: pixels are float.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == 'RGB':
        return image
    if image.mode == 'F':
        raise ValueError('pixels are float; their range is unknown')
    if image.mode.startswith('I'):  # Pillow would clip at 255
        pixels = np.asarray(image, dtype=np.int64).clip(0, 65535) // 257
        return Image.fromarray(pixels.astype(np.uint8)).convert('RGB')
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        image = image.convert('RGBA')
        white = Image.new('RGBA', image.size, 'white')
        return Image.alpha_composite(white, image).convert('RGB')
    return image.convert('RGB')


class PixelFile(Protocol):
    """An image file that is open; sides in pixels, `dtype` uint8, uint16 or float32."""

    height: int
    width: int
    channels: int
    dtype: np.dtype

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A part of the image, (height, width, C) of `dtype`; pixels without data are 0.

        Raises:
            UnreadableImage: the part is damaged, or has NaN or infinite numbers.
            ValueError: the part is empty or not within the image.
        """


@contextmanager
def open_pixels(path: str | Path) -> Iterator[PixelFile]:
    """Open an image file: `.npy` (H, W) or (H, W, C), TIFF, or whatever `read_rgb` decodes.

    What a file is, its first bytes say. Of an array, and of a TIFF in tiles or strips, `read`
    decodes only the part. The bands of a TIFF, or its pages of one band each, are its channels.

    Raises:
        ImportError: a TIFF that is not 8-bit RGB, and rasterio is not installed.
        UnreadableImage: a file that is missing, damaged, or of numbers that are no pixels.
    """
    with ExitStack() as stack:
        with _reasons(path):
            with open(path, 'rb') as file:
                start = file.read(len(NPY))
            if start == NPY:
                opened = _ArrayFile(path, np.load(path, mmap_mode='r', allow_pickle=False))
            elif start.startswith(TIFF):
                opened = _open_tiff(path, stack)
            else:
                opened = _ArrayFile(path, np.asarray(read_rgb(path)))
        yield opened


def read_pixels(path: str | Path) -> np.ndarray:
    """A whole image (H, W, C); errors as `open_pixels` and `PixelFile.read`."""
    with open_pixels(path) as file:
        return file.read(0, 0, file.height, file.width)


@contextmanager
def _reasons(path: str | Path) -> Iterator[None]:
    """Whatever a decoder raises, as `UnreadableImage`."""
    try:
        yield
    except (UnreadableImage, ImportError, MemoryError):
        raise
    except Exception as error:  # decoders of damaged files raise all sorts
        reason = error.__cause__ or error  # rasterio's own says: see previous exception
        raise UnreadableImage(path, f'{type(reason).__name__}: {reason}') from error


class _ArrayFile:
    """An array in memory, or mapped into it."""

    def __init__(self, path: str | Path, array: np.ndarray):
        self.path = path
        if array.ndim not in (2, 3) or not array.size:
            raise ValueError(f'an array of {array.shape}; allowed: (H, W) or (H, W, C)')
        self.array = array if array.ndim == 3 else array[..., None]
        self.dtype = _target(array.dtype)
        self.height, self.width, self.channels = self.array.shape

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """As `PixelFile.read`."""
        _check_part(self, top, left, height, width)
        with _reasons(self.path):
            return _numbers(self.array[top : top + height, left : left + width], self.dtype)


class _RasterFile:
    """A TIFF file by rasterio: one page of several bands, or pages of one band each."""

    def __init__(self, path: str | Path, pages: Sequence[Any]):
        self.path, self.pages = path, pages
        kinds = {(page.height, page.width, *page.dtypes) for page in pages}
        if len(pages) > 1 and (len(kinds) > 1 or pages[0].count > 1):
            raise ValueError(
                f'{len(pages)} pages of (height, width, *bands) {sorted(kinds)[:3]}; allowed: one '
                'page, or pages of one band each, of one size and one type'
            )
        if 'palette' in (interpretation.name for interpretation in pages[0].colorinterp):
            raise ValueError('pixels are places in a palette; write the colours as bands')
        self.height, self.width, *_ = pages[0].shape
        self.channels = sum(page.count for page in pages)
        self.dtype = _target(np.dtype(pages[0].dtypes[0]))

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """As `PixelFile.read`."""
        _check_part(self, top, left, height, width)
        window = ((top, top + height), (left, left + width))
        with _reasons(self.path):
            bands = np.concatenate([page.read(window=window) for page in self.pages])
            declared = [value for page in self.pages for value in page.nodatavals]
            for band, nodata in zip(bands, declared, strict=True):
                if nodata is not None:
                    band[np.isnan(band) if np.isnan(nodata) else band == nodata] = 0
            return _numbers(bands.transpose(1, 2, 0), self.dtype)


def _open_tiff(path: str | Path, stack: ExitStack) -> PixelFile:
    """Files stay open until the stack is closed."""
    try:
        import rasterio  # late: it brings GDAL, which 8-bit RGB has no use for
    except ImportError as error:
        if _is_rgb(path):
            return _ArrayFile(path, np.asarray(read_rgb(path)))
        raise ImportError(f'{path} is a TIFF file other than 8-bit RGB: {INSTALL}') from error
    stack.enter_context(rasterio.Env(**GDAL))
    # As a Path, an address such as https://... is no more than the name of a file.
    first = stack.enter_context(_dataset(rasterio, Path(os.path.abspath(path))))
    # GTIFF_DIR:n:path; rasterio has them in the order of the alphabet, the tenth before the second.
    names = sorted(first.subdatasets, key=lambda name: int(name.split(':')[1]))
    pages = [stack.enter_context(_dataset(rasterio, name)) for name in names]
    return _RasterFile(path, pages or [first])


def _is_rgb(path: str | Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.mode == 'RGB' and getattr(image, 'n_frames', 1) == 1
    except UnidentifiedImageError:  # what it is, rasterio may know
        return False


def _dataset(rasterio: Any, name: str | Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(name, driver='GTiff')


def _target(dtype: np.dtype) -> np.dtype:
    """The type that pixels of a file's type are given in."""
    if dtype.name in KEPT:
        return np.dtype(dtype.name)  # in the machine's byte order
    if dtype.kind in 'iuf':
        return np.dtype('float32')
    raise ValueError(f'pixels are {dtype}; allowed: integers and floats of up to 64 bits')


def _numbers(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """A copy of pixels in one piece and in the type `_target` says."""
    with np.errstate(over='ignore'):  # too large for float32: infinite, and told below
        pixels = np.array(pixels, dtype, order='C')
    if dtype.kind == 'f' and not np.isfinite(pixels).all():
        bad = np.count_nonzero(~np.isfinite(pixels))
        raise ValueError(
            f'{bad} of {pixels.size} numbers are NaN or infinite; allowed: finite ones, and in a '
            'TIFF file the value that it declares as nodata'
        )
    return pixels


def _check_part(file: PixelFile, top: int, left: int, height: int, width: int) -> None:
    inside = 0 <= top < top + height <= file.height and 0 <= left < left + width <= file.width
    if not inside:
        raise ValueError(
            f'a part of {height} x {width} pixels from row {top}, column {left} on; allowed: within'
            f' the image of {file.height} x {file.width}'
        )
