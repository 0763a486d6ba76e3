"""Images as Python code has them: paths, PIL images, arrays and tensors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, bfloat16

from lomar.datasets.color import to_grey, to_rgb
from lomar.datasets.image_io import read_pixels, read_rgb
from lomar.datasets.unreadable import UnreadableImage

AnyImage = str | Path | Image.Image | np.ndarray | Tensor
WITH_RANGE = 'for other numbers, give value_range=(LOW, HIGH), the values of black and white'
LIMITS = (2, 98)  # percentiles that become black and white, of pixels that are not 8-bit RGB


def check_listed(images: object) -> None:
    """Raise a TypeError if `images` is one image instead of several."""
    if isinstance(images, (str, Path, Image.Image)) or getattr(images, 'ndim', 4) != 4:
        raise TypeError(f'images is a single {type(images).__name__}; allowed: a list of them')


def pil_pixels(
    image: Image.Image, channels: int, value_range: Sequence[float] | None = None
) -> np.ndarray:
    """Return a PIL image as pixels (H, W, C) for a model of C channels, as its file is read."""
    if not all(image.size):
        raise ValueError(f'a PIL image of (width, height) = {image.size} has no pixels')
    return to_grey(image) if channels == 1 else np.array(to_rgb(image, value_range, WITH_RANGE))


def given_pixels(
    image: AnyImage, channels: int, value_range: Sequence[float] | None = None
) -> np.ndarray:
    """Return an image other than a path as an array (H, W) or (H, W, C) of its numbers.

    Args:
        channels, value_range: as in `pil_pixels`; arrays and tensors are not converted.

    Raises:
        TypeError: the argument is no image.
    """
    if isinstance(image, Image.Image):
        return pil_pixels(image, channels, value_range)
    if isinstance(image, Tensor) and image.ndim == 3:
        kept = image.detach().cpu().permute(1, 2, 0)
        return (kept.float() if kept.dtype == bfloat16 else kept).numpy()
    if isinstance(image, np.ndarray) and image.ndim in (2, 3):
        return image
    shape = tuple(getattr(image, 'shape', ()))
    raise TypeError(
        f'an image is {type(image).__name__}{f" of shape {shape}" if shape else ""}; allowed: '
        'paths, PIL images, arrays (H, W) or (H, W, C) and tensors (C, H, W)'
    )


def model_pixels(
    image: AnyImage, channels: int, rgb: bool, value_range: Sequence[float] | None = None
) -> np.ndarray:
    """Return an image other than a path as an array (H, W) or (H, W, C) that a model takes.

    The numbers are not converted: `array_to_rgb` or `array_pixels` do this.

    Args:
        channels: C of the model.
        rgb: whether the model takes 8-bit RGB, also from grey images, from R, G, B and alpha, and
            with `value_range` from other numbers.

    Raises:
        TypeError: the argument is no image.
        ValueError: the model does not support its shape or its numbers.
    """
    pixels = given_pixels(image, channels, value_range)
    is_tensor, is_pil = isinstance(image, Tensor), isinstance(image, Image.Image)
    what = 'a tensor' if is_tensor else 'a PIL image' if is_pil else 'an array'
    shape = tuple(getattr(image, 'shape', pixels.shape))
    own = pixels.shape[2] if pixels.ndim == 3 else 1
    if not pixels.size:
        raise ValueError(f'{what} of shape {shape} has no pixels')
    counts = {1, 3, 4} if rgb and pixels.dtype == np.uint8 else {1, 3} if rgb else {channels}
    if own not in counts:
        layout = '({}, H, W)' if is_tensor else '(H, W, {})'
        allowed = ', '.join(layout.format(number) for number in sorted(counts))
        allowed = allowed.replace('(H, W, 1)', '(H, W)')
        turned = 'permute(2, 0, 1)' if is_tensor else 'transpose(1, 2, 0)'
        there = shape[2] if is_tensor else shape[0]
        hint = f'; image.{turned} moves the channels there' if there in counts else ''
        raise ValueError(f'{what} has the shape {shape}; allowed: {allowed}{hint}')
    kind = getattr(image, 'dtype', pixels.dtype)
    if rgb and pixels.dtype != np.uint8 and value_range is None:
        raise ValueError(f'{what} is {kind}; allowed: uint8, 0 to 255; {WITH_RANGE}')
    if pixels.dtype.kind not in 'iuf':
        raise ValueError(f'{what} is {kind}; allowed: integers and floats')
    return pixels


def visible_pixels(image: AnyImage) -> np.ndarray:
    """Return an image as (H, W, 3) uint8 RGB, with other pixels stretched to that range.

    Of more than three channels the first three are shown, of two the first.
    """
    try:
        if isinstance(image, (str, Path)):
            return np.array(read_rgb(image))
        pixels = given_pixels(image, 3)
    except UnreadableImage:
        try:
            pixels = read_pixels(str(image))  # an array or a raster, if a detector has read it
        except ImportError:  # without rasterio, a detector has read a TIFF of one channel
            with Image.open(str(image)) as file:
                pixels = to_grey(file)
    except ValueError:  # of a PIL image with numbers of an unknown range
        pixels = given_pixels(image, 1)
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    pixels = pixels[..., : 3 if pixels.shape[2] >= 3 else 1]
    if pixels.dtype != np.uint8 or isinstance(image, (str, Path)):
        low, high = np.percentile(pixels.astype(np.float32), LIMITS)
        shown = (pixels.astype(np.float32) - low) / max(high - low, np.finfo(np.float32).tiny) * 255
        pixels = shown.clip(0, 255).round().astype(np.uint8)
    return np.repeat(pixels, 3 // pixels.shape[2], axis=2)
