"""Images of any type as a model of plain patches takes them, before normalization."""

import operator
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from lomar.datasets.any_image import AnyImage, model_pixels
from lomar.datasets.color import array_to_rgb
from lomar.datasets.image_io import array_pixels
from lomar.datasets.reading import Reading
from lomar.datasets.resize import resize_pixels

MOST_PATCHES = 2**16  # of an image: more have attention matrices above 16 GB per head


class ModelInput(NamedTuple):
    """What a model takes: its channels, its patches, and which images are converted.

    Attributes:
        reading: how files are read, with the channels and the value range of the model.
        rgb: whether images in memory are converted to 8-bit RGB.
        patch: side of a patch in pixels.
    """

    reading: Reading
    rgb: bool
    patch: int

    def read(self, image: AnyImage, size: int | tuple[int, int] | None = None) -> Tensor:
        """Return an image (C, H, W) in uint8 or float32.

        Args:
            size: (height, width) or side in pixels to which the image is resized and cropped;
                None = native size, cropped to whole patches.

        Raises:
            TypeError, ValueError: it is not an image, or the model does not support it.
            UnreadableImage: a file is missing or damaged.
        """
        sides = self.sides(size)
        pixels = self._pixels(image)
        if sides is not None:
            return _resized(pixels, sides)
        height, width = (side // self.patch * self.patch for side in pixels.shape[1:])
        if not height or not width:
            height, width = pixels.shape[1:]
            raise ValueError(
                f'an image of {height} x {width} pixels is smaller than a patch of {self.patch}'
            )
        check_sides(height, width, self.patch)
        return center_crop(pixels, [height, width])

    def sides(self, size: Any) -> tuple[int, int] | None:
        """Return `size` of `read` as (height, width), or None.

        Raises:
            ValueError: no image can have the size.
        """
        if size is None:
            return None
        try:
            height, width = (size, size) if isinstance(size, Integral) else size
            height, width = operator.index(height), operator.index(width)
        except (TypeError, ValueError):
            allowed = 'a whole number of pixels, (height, width) or None'
            raise ValueError(f'size is {size!r}; allowed: {allowed}') from None
        check_sides(height, width, self.patch)
        return height, width

    def _pixels(self, image: AnyImage) -> Tensor:
        """Return an image of any supported type as (C, H, W) uint8 or float32."""
        channels, value_range = self.reading.channels, self.reading.value_range
        if isinstance(image, Tensor) and _is_ready(image, channels):
            return image  # on its own device
        pixels: np.ndarray
        if isinstance(image, (str, Path)):
            pixels = self.reading.read(image)
        else:
            pixels = model_pixels(image, channels, self.rgb, value_range)
            pixels = array_to_rgb(pixels, value_range) if self.rgb else array_pixels(pixels)
        found = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
        return found if found.dtype == torch.uint8 else found.float()


def check_sides(height: int, width: int, patch: int, name: str = 'size') -> None:
    """Raise a ValueError unless a size in pixels has whole patches, at most `MOST_PATCHES`."""
    if min(height, width) < 1 or height % patch or width % patch:
        raise ValueError(
            f'{name} is {height} x {width}; allowed: multiples of the patch size, {patch} pixels'
        )
    if (number := (height // patch) * (width // patch)) > MOST_PATCHES:
        raise ValueError(
            f'an image of {height} x {width} pixels has {number:,} patches of {patch} pixels; '
            f'allowed: {MOST_PATCHES:,}, with a smaller size= (--size of lomar encode and export)'
        )


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image (C, H, W) resized to cover `size` = (height, width), and cropped to it."""
    height, width = image.shape[1:]
    if size == (height, width):
        return image
    scale = max(size[0] / height, size[1] / width)
    covering = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    pixels = resize_pixels(image.permute(1, 2, 0).cpu().numpy(), covering)
    resized = torch.from_numpy(pixels).permute(2, 0, 1).to(image.device)
    return center_crop(resized, list(size))


def _is_ready(image: Any, channels: int) -> bool:
    shape = tuple(image.shape)
    return (
        image.dtype == torch.uint8 and len(shape) == 3 and shape[0] == channels and 0 not in shape
    )
