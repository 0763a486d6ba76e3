"""Antialiased resize with Pillow's filters for any number of channels."""

import numpy as np
from PIL import Image

FILTERS = dict(bilinear=Image.Resampling.BILINEAR, bicubic=Image.Resampling.BICUBIC)
TYPES = ('uint8', 'uint16', 'float32')


def resize_pixels(
    pixels: np.ndarray,
    size: tuple[int, int],
    interpolation: str = 'bicubic',
    box: tuple[float, float, float, float] | None = None,
) -> np.ndarray:
    """Resize (H, W, C) pixels to (height, width, C) in the same dtype.

    Results for uint8 equal Pillow's for RGB images and for single channels. Other dtypes are
    computed in float32; for uint16 the result is rounded and clipped.

    Args:
        interpolation: 'bilinear' or 'bicubic'; both are antialiased.
        box: (left, top, right, bottom) in pixels of the part to resize; the filters also read
            pixels around the box. None = the whole image.
    """
    if pixels.dtype not in TYPES:
        raise TypeError(f'pixels to resize are {pixels.dtype}; allowed: {", ".join(TYPES)}')
    whole = 0, 0, pixels.shape[1], pixels.shape[0]
    box = whole if box is None else box
    if tuple(box) == whole and pixels.shape[:2] == tuple(size):
        # NumPy calls a mirrored image of one column contiguous, which PyTorch does not take.
        return pixels if min(pixels.strides) >= 0 else pixels.copy()
    method, sides = FILTERS[interpolation], (size[1], size[0])
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return np.array(Image.fromarray(pixels).resize(sides, method, box))
    resized = np.empty((*size, pixels.shape[2]), pixels.dtype)
    kept = np.uint8 if pixels.dtype == np.uint8 else np.float32
    for channel in range(pixels.shape[2]):
        plane = np.ascontiguousarray(pixels[..., channel], kept)
        plane = np.asarray(Image.fromarray(plane).resize(sides, method, box))
        if pixels.dtype == np.uint16:
            plane = plane.round().clip(0, np.iinfo(np.uint16).max)
        resized[..., channel] = plane
    return resized


def fit_pixels(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Center-crop (H, W, C) to the aspect ratio of `size` = (height, width), and resize to it.

    Results for 8-bit RGB equal Pillow's `ImageOps.fit`.
    """
    sides = pixels.shape[:2]
    scale = min(side / want for side, want in zip(sides, size, strict=True))
    height, width = (min(side, want * scale) for side, want in zip(sides, size, strict=True))
    top, left = (sides[0] - height) / 2, (sides[1] - width) / 2
    return resize_pixels(pixels, size, box=(left, top, left + width, top + height))
