"""Read image files: as 8-bit RGB, or as they are, with any number of channels, whole or in part."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lomar.datasets.color import (
    array_to_rgb,
    deep_png,
    is_deep_tiff,
    other_numbers,
    to_grey,
    to_rgb,
)
from lomar.datasets.orientation import load
from lomar.datasets.pixel_file import ArrayFile, PixelFile
from lomar.datasets.pixel_limit import check_size
from lomar.datasets.shard_images import ImageBytes, ImageFile, first_bytes, opened
from lomar.datasets.tiff_file import open_raster
from lomar.datasets.unreadable import UnreadableImage, reasons

NOT_RGB = (
    ' (arrays, and TIFF files that Pillow cannot read, need `channels` or convert=False, or '
    'value_range, the values of black and white: docs/data.md)'
)
NPY = b'\x93NUMPY'
TIFF = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # classic and BigTIFF, in both byte orders
# Tag of TIFF: whether a page repeats another at a lower resolution, or masks it.
SUBFILE, SMALLER_OR_MASK = 254, 0b101
INSTALL = 'pip install lomar-openmmlab[rasters]'


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
                _refuse_stacks(image)
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


def _refuse_stacks(image: Image.Image) -> None:
    """Raise a ValueError for a TIFF file with several images of one size.

    Pillow reads the first one. Copies at lower resolution and thumbnails have other sizes.
    """
    if image.format == 'TIFF' and (same := page_sizes(image).count(image.size)) > 1:
        raise ValueError(
            f'has {same} pages of one size, as a stack or a series; allowed: one. Write each page '
            'as a file, or set `channels` if the pages are the channels of an image (docs/data.md)'
        )


def page_sizes(image: Image.Image) -> list[tuple[int, int]]:
    """Return (width, height) of each page of a file, without masks and copies at lower resolution.

    The first page counts whatever its tags are.
    """
    sizes = []
    for page in range(getattr(image, 'n_frames', 1)):
        image.seek(page)
        if page == 0 or not getattr(image, 'tag_v2', {}).get(SUBFILE, 0) & SMALLER_OR_MASK:
            sizes.append(image.size)
    image.seek(0)
    return sizes


def _deep(path: ImageFile, image: Image.Image) -> np.ndarray | None:
    """Return the numbers of an image of 3 x 16 bits, or None."""
    return _one_or_three(path) if is_deep_tiff(image) else deep_png(path, image)


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


def _open_tiff(path: ImageFile, stack: ExitStack, channels: int | None) -> PixelFile:
    """Return a TIFF file, open until `stack` is closed."""
    try:
        return open_raster(path, stack)
    except ImportError as error:
        with suppress(UnidentifiedImageError), Image.open(path) as image:
            grey = channels == 1 and image.mode in ('L', 'I;16')
            known = grey or (image.mode == 'RGB' and not is_deep_tiff(image))
            if known and getattr(image, 'n_frames', 1) == 1:
                return ArrayFile(path, _decoded(path, channels))
        raise ImportError(f'{path} is a TIFF file other than 8-bit RGB: {INSTALL}') from error
