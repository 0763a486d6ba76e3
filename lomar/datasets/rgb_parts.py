"""Read parts of image files as 8-bit RGB, without decoding the rest of large TIFF files."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from threading import RLock

import numpy as np
from PIL import Image, UnidentifiedImageError

from lomar.datasets.color import BITS, SAMPLE_FORMAT, UNSIGNED, array_to_rgb, to_rgb
from lomar.datasets.image_io import NPY, TIFF, open_pixels, page_sizes, read_rgb
from lomar.datasets.pixel_file import ArrayFile, PixelFile
from lomar.datasets.unreadable import reasons

PHOTOMETRIC, ORIENTATION, EXTRA_SAMPLES, NODATA = 262, 274, 338, 42113  # tags
WHOLE_LIMIT = 10**9  # pixels of a file that is decoded whole: 3 GB as RGB
LIMIT = RLock()  # held while Pillow's limit is changed
GREY, RGB = 1, 2  # values of PHOTOMETRIC
UNSPECIFIED, STRAIGHT_ALPHA = 0, 2  # values of EXTRA_SAMPLES
Converter = Callable[[np.ndarray], np.ndarray]


@contextmanager
def open_rgb(path: str | Path, value_range: Sequence[float] | None = None) -> Iterator[PixelFile]:
    """Open an image file for `read`, which returns parts of what `read_rgb` returns, to the bit.

    Of arrays, and of TIFF files whose pixels are grey, RGB or RGBA, of 8 bits or of 16 with a known
    range, only the requested parts are decoded, and there is no limit on the number of pixels.
    Other files are decoded once, whole; they may have `WHOLE_LIMIT` pixels.

    Args:
        value_range: values of black and white in files of other than 8 bits.

    Raises:
        ImportError: the file is a TIFF that Pillow cannot read, and rasterio is not installed.
        UnreadableImage: the file is missing or cannot be decoded.
    """
    path = os.path.expanduser(path)
    with reasons(path), _pixel_limit(None):
        convert = _converter(path, value_range)
    if convert is None:
        with _pixel_limit(WHOLE_LIMIT // 2):  # Pillow allows twice its limit
            pixels = np.asarray(read_rgb(path, value_range))
        yield ArrayFile(path, pixels)
        return
    with open_pixels(path) as file:
        yield _ConvertedFile(file, convert)


class _ConvertedFile(PixelFile):
    """Open file whose parts are converted to 8-bit RGB."""

    def __init__(self, file: PixelFile, convert: Converter):
        self.path, self.height, self.width = file.path, file.height, file.width
        self.channels, self.dtype = 3, np.dtype(np.uint8)
        self.file, self.convert = file, convert

    def _part(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        return self.convert(self.file.read(top, left, height, width))


def _converter(path: str | Path, value_range: Sequence[float] | None) -> Converter | None:
    """Return the conversion of a part to 8-bit RGB; None if only whole files can be converted."""
    with open(path, 'rb') as file:
        start = file.read(len(NPY))
    scale = None if value_range is None else partial(array_to_rgb, value_range=value_range)
    if start == NPY:
        return scale
    if not start.startswith(TIFF) or find_spec('rasterio') is None:
        return None
    try:
        with Image.open(path) as image:
            return _tiff_converter(image, value_range, scale)
    except UnidentifiedImageError:
        return scale


def _tiff_converter(
    image: Image.Image, value_range: Sequence[float] | None, scale: Converter | None
) -> Converter | None:
    tags = getattr(image, 'tag_v2', {})
    bits, kind = tags.get(BITS), tags.get(PHOTOMETRIC)
    unusual = (
        tags.get(ORIENTATION, 1) != 1
        or set(tags.get(SAMPLE_FORMAT, (UNSIGNED,))) != {UNSIGNED}
        # `open_pixels` sets such pixels to 0.
        or str(tags.get(NODATA, '0')).strip('\0 ') != '0'
        or len(page_sizes(image)) > 1
    )
    if unusual:
        return None
    if bits == (16, 16, 16) and kind == RGB and image.mode == 'RGB':
        return scale
    extra = tags.get(EXTRA_SAMPLES, ())
    if (bits, kind, extra) == ((8,) * 4, RGB, (UNSPECIFIED,)):
        return _first_three
    known = (bits, kind, extra) in (
        *(((8,), GREY, ()), ((16,), GREY, ())),
        *(((8, 8, 8), RGB, ()), ((8,) * 4, RGB, (STRAIGHT_ALPHA,))),
    )
    return partial(_as_image, value_range=value_range) if known else None


def _first_three(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., :3]


def _as_image(pixels: np.ndarray, value_range: Sequence[float] | None) -> np.ndarray:
    """Return a part (H, W, C) as `read_rgb` converts images of 1, 3 or 4 channels."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(to_rgb(image, value_range))


@contextmanager
def _pixel_limit(pixels: int | None) -> Iterator[None]:
    """Replace Pillow's limit on the number of pixels, above which it warns; other threads wait."""
    with LIMIT:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
