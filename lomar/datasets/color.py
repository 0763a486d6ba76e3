"""Conversion of images to 8-bit RGB or to one channel, and the range of their pixel values."""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from math import isfinite
from numbers import Real

import cv2
import numpy as np
from PIL import Image

from lomar.datasets.orientation import upright
from lomar.datasets.shard_images import ImageFile, content, opened

BITS, SAMPLE_FORMAT, UNSIGNED, SIGNED = 258, 339, 1, 2  # tags of TIFF, and two sample formats
DECLARE = (
    'declare the values of black and white with value_range=[LOW, HIGH] (in a config, or '
    '--value-range LOW HIGH), or keep the numbers of the file with convert=False (docs/data.md)'
)
SAMPLED = 8  # files of which the range is looked at
DARK = 1 / 8  # of the largest value: a 16-bit image below it may have 12 bits


def to_rgb(
    image: Image.Image, value_range: Sequence[float] | None = None, advice: str = DECLARE
) -> Image.Image:
    """Return an image as 8-bit RGB, with its EXIF orientation applied.

    Grey, palette and CMYK images are converted, and transparent images are composited over white.
    Grey images of 16 unsigned bits are scaled to 8 bits, TIFF files of 12 bits from 12 bits.

    Args:
        value_range: values of black and white in images of other than 8 bits.
        advice: how to give a range, for the error.

    Raises:
        ValueError: the range of the values is unknown, or values are not finite.
    """
    numbers = other_numbers(image)
    known = _known_range(image) if value_range is None else value_range
    if numbers is not None:
        if known is None:
            raise ValueError(f'pixels are {numbers.dtype}, whose range is unknown; {advice}')
        return Image.fromarray(scaled(numbers, known)).convert('RGB')
    image = upright(image)
    if image.mode == 'RGB':
        return image
    if image.mode in ('RGBA', 'LA', 'PA', 'RGBa', 'La') or 'transparency' in image.info:
        return _over_white(image.convert('RGBA'))
    return image.convert('RGB')


def _over_white(image: Image.Image) -> Image.Image:
    """Return an image of mode RGBA as RGB."""
    white = Image.new('RGBA', image.size, 'white')
    return Image.alpha_composite(white, image).convert('RGB')


def to_grey(image: Image.Image) -> np.ndarray:
    """Return a grey image as (H, W, 1) with its numbers, and any other as `to_rgb`, (H, W, 3)."""
    numbers = other_numbers(image)
    if numbers is not None:
        whole = _known_range(image) is not None  # Pillow before 11 gives 16 bits as int32
        return (numbers.astype(np.uint16) if whole else numbers)[..., None].copy()
    rgb = np.array(to_rgb(image))
    grey = image.mode in ('1', 'L', 'LA', 'La', 'P', 'PA')
    return rgb[..., :1] if grey and (rgb == rgb[..., :1]).all() else rgb


def scaled(pixels: np.ndarray, value_range: Sequence[float]) -> np.ndarray:
    """Return numbers as uint8: LOW of a range becomes 0, HIGH 255; values outside are clipped."""
    low, high = map(float, value_range)  # differences of NumPy's integers overflow
    pixels = pixels.astype(np.float64)
    if bad := np.count_nonzero(~np.isfinite(pixels)):
        raise ValueError(f'{bad} of {pixels.size} numbers are NaN or infinite')
    return np.floor((pixels.clip(low, high) - low) * 255 / (high - low)).astype(np.uint8)


def array_to_rgb(pixels: np.ndarray, value_range: Sequence[float] | None = None) -> np.ndarray:
    """Return an array (H, W) or (H, W, C) as uint8 (H, W, C), grey as three channels.

    Four channels of uint8 are three colors in any order and alpha, and are composited over white.

    Raises:
        ValueError: the array is not uint8, and no range is given.
    """
    if pixels.dtype != np.uint8:
        if value_range is None or pixels.dtype.kind not in 'iuf':
            raise ValueError(
                f'an array is {pixels.dtype}; allowed: uint8, 0 to 255; for others {DECLARE}'
            )
        pixels = scaled(pixels, value_range)
    elif pixels.ndim == 3 and pixels.shape[2] == 4:
        return np.array(_over_white(Image.fromarray(np.ascontiguousarray(pixels))))
    grey = pixels.ndim == 2 or pixels.shape[2] == 1
    return np.repeat(pixels.reshape(*pixels.shape[:2], 1), 3, axis=2) if grey else pixels


def deep_png(path: ImageFile, image: Image.Image) -> np.ndarray | None:
    """Return an opened PNG file of 3 x 16 bits as uint16 (H, W, 3), or None for another image.

    Pillow drops the lower 8 bits.

    Raises:
        ValueError: a PNG file of 16 bits has transparency.
    """
    tiles = getattr(image, 'tile', None) if image.format == 'PNG' else None
    mode = tiles[0][3] if tiles else ''
    if mode in ('RGBA;16B', 'LA;16B'):
        raise ValueError(
            'pixels have 16 bits and an alpha channel; allowed with value_range: no alpha channel'
        )
    if mode != 'RGB;16B':
        return None
    return _by_opencv(path)[..., ::-1]


def is_deep_tiff(image: Image.Image) -> bool:
    """Return whether an image is a TIFF of 3 x 16 bits, of which Pillow decodes 3 x 8 bits."""
    return image.mode == 'RGB' and getattr(image, 'tag_v2', {}).get(BITS) == (16, 16, 16)


def _by_opencv(path: ImageFile) -> np.ndarray:
    """Return the numbers of an image file as it is, colors in the order B, G, R."""
    numbers = np.frombuffer(content(path), np.uint8)  # OpenCV opens no names in other encodings
    pixels = cv2.imdecode(numbers, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError('OpenCV cannot decode the file')
    return pixels


def check_value_range(owner: str, value_range: Sequence[float] | None, convert: bool) -> None:
    """Raise a ValueError unless a range is None, or two rising numbers of a converting loader."""
    if value_range is None:
        return
    if not convert:
        raise ValueError(
            f'{owner}.value_range is {value_range}, but the loader keeps the numbers of files, '
            'which data_preprocessor normalizes by its mean and std; allowed: None'
        )
    pair = [*value_range] if isinstance(value_range, Iterable) else []
    numbers = [float(value) for value in pair if isinstance(value, Real)]
    if not len(numbers) == len(pair) == 2 or not all(map(isfinite, numbers)):
        raise ValueError(
            f'{owner}.value_range is {value_range}; allowed: two numbers, LOW and HIGH'
        )
    if not numbers[0] < numbers[1]:
        raise ValueError(f'{owner}.value_range is {value_range}; allowed: LOW less than HIGH')


def largest_of_16_bits(path: ImageFile) -> int | None:
    """Return the largest value of a file of 16 unsigned bits; None for other and damaged files."""
    path = opened(path)
    with suppress(Exception), Image.open(path) as image:
        pixels = _by_opencv(path) if is_deep_tiff(image) else deep_png(path, image)
        if _known_range(image) == (0, 65535):
            pixels = other_numbers(image)
        return None if pixels is None else int(pixels.max())
    return None


def dark_images(paths: Sequence[str]) -> str:
    """Return a note on 16-bit images with small values only, by a sample of the files, or ''."""
    found = [largest_of_16_bits(path) for path in paths[:: max(1, len(paths) // SAMPLED)]]
    return dark_note(max((value for value in found if value is not None), default=0), 65535)


def dark_note(largest: float, limit: int) -> str:
    """Return a note on images whose largest value is far below that of their type, or ''."""
    if not 0 < largest < limit * DARK:
        return ''
    bits = int(largest).bit_length()
    return (
        f'the largest value of the images is {largest:g} of {limit}; files of {bits} bits in a '
        f'larger type look like this. Models of 8-bit RGB see dark images: {DECLARE}'
    )


def _tag(image: Image.Image, tag: int) -> int | None:
    """Return the first value of a tag in a TIFF file."""
    values = getattr(image, 'tag_v2', {}).get(tag)
    return values[0] if isinstance(values, tuple) else values


def other_numbers(image: Image.Image) -> np.ndarray | None:
    """Return the numbers (H, W) of an upright image of other than 8 unsigned bits, or None."""
    stored = _tag(image, SAMPLE_FORMAT) or (UNSIGNED if image.format == 'TIFF' else None)
    if image.mode[0] in 'IF':
        pixels = np.asarray(upright(image))
        if image.mode == 'I' and stored == UNSIGNED:  # Pillow has no mode for 32 unsigned bits
            return pixels.view(np.uint32)
        return pixels.astype(np.int16) if (stored, _tag(image, BITS)) == (SIGNED, 16) else pixels
    if image.mode == 'L' and stored == SIGNED:
        return np.asarray(upright(image)).view(np.int8)
    return None


def _known_range(image: Image.Image) -> tuple[int, int] | None:
    """Return the range of an image's numbers that its format determines: 12 or 16 unsigned bits."""
    if image.mode.startswith('I;16') or (image.mode == 'I' and image.format in ('PNG', 'PPM')):
        return 0, 2 ** (_tag(image, BITS) or 16) - 1
    return None
