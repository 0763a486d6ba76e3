"""Load random resized crops of images; JPEG files are decoded no larger than the crop needs."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.io import ImageReadMode, decode_jpeg

from lomar.datasets.color import check_value_range, to_rgb
from lomar.datasets.image_io import open_pixels, read_rgb
from lomar.datasets.orientation import on_side, orientation
from lomar.datasets.pixel_limit import check_size
from lomar.datasets.pixel_type import PixelType
from lomar.datasets.reading import converts
from lomar.datasets.resize import resize_pixels
from lomar.datasets.shard_images import ImageFile, content, first_bytes, opened
from lomar.datasets.unreadable import reasons
from lomar.utils import check_least, check_number, check_range

try:
    import simplejpeg
except ImportError:  # torchvision decodes equal pixels, a little slower
    simplejpeg = None

GAP = 2  # least ratio of decoded to output pixels per side, as Pillow's thumbnails keep
REACH = 2  # of the bicubic filter to both sides, in output pixels
WORTH = 6  # output pixels that torch resizes in the time that Pillow needs for one
READ = ImageReadMode.RGB
JPEG = b'\xff\xd8'

Crop = tuple[int, int, int, int]  # top, left, height, width in pixels of the upright image


@TRANSFORMS.register_module()
class LoadRandomResizedCrop(BaseTransform):
    """Pipeline step that loads a random crop of an image file at one size, perhaps mirrored.

    It replaces `LoadImage`, mmpretrain's `RandomResizedCrop` (Pillow, bicubic) and `RandomFlip`,
    and takes less time. The same random state draws the same crop and flip. Pixels of JPEG files
    differ by rounding, and by a little more if the crop is at least four times as large as `scale`
    and the file is decoded at a half, a quarter or an eighth of its size. Other files give equal
    pixels.

    Args:
        scale: side, or (height, width), of the output in pixels.
        crop_ratio_range: smallest and largest share of the image's area.
        aspect_ratio_range: smallest and largest width / height of the crop.
        flip_prob: probability that an image is mirrored.
        channels, convert, value_range: see `LoadImage`. Of unconverted files only the crop is
            decoded.
    """

    def __init__(
        self,
        scale: int | tuple[int, int],
        crop_ratio_range: tuple[float, float] = (0.08, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.5,
        channels: int = 3,
        convert: bool | None = None,
        value_range: Sequence[float] | None = None,
    ):
        from mmpretrain.datasets import RandomResizedCrop  # late: compat must be applied before

        for side in scale if isinstance(scale, list | tuple) else [scale]:
            check_least('LoadRandomResizedCrop', scale=side)
        check_range('LoadRandomResizedCrop.crop_ratio_range', crop_ratio_range, 1)
        check_range('LoadRandomResizedCrop.aspect_ratio_range', aspect_ratio_range)
        check_number('LoadRandomResizedCrop.flip_prob', flip_prob, 0, 1 + 1e-9)
        self.flip_prob = flip_prob
        self.channels = None if converts(channels, convert) else channels
        check_value_range('LoadRandomResizedCrop', value_range, self.channels is None)
        self.value_range = value_range
        self.reads_arrays = self.channels is not None or value_range is not None
        self.pixel_type = PixelType()
        self.random = RandomResizedCrop(scale, crop_ratio_range, aspect_ratio_range)

    def transform(self, results: dict) -> dict:
        """Add `img`, (H, W, C), and the entries that the three transforms add."""
        pixels, whole = self.read(results['img_path'])
        return add_image(results, pixels, pixels.shape, whole, self.flip_prob)

    def read(
        self, path: str | Path, places: Sequence[Crop] | None = None
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """Draw a crop and return `read_resized` of it."""
        pixels, whole = read_resized(path, self._draw, places, self.channels, self.value_range)
        self.pixel_type.check(path, pixels.dtype)
        return pixels, whole

    def _draw(self, width: int, height: int) -> tuple[Crop, tuple[int, int]]:
        crop = self.random.rand_crop_params(np.empty((height, width, 0)))  # only the shape counts
        return crop, tuple(self.random.scale)


def add_image(
    results: dict,
    pixels: np.ndarray,
    shape: tuple[int, ...],
    whole: tuple[int, int],
    flip_prob: float,
) -> dict:
    """Mirror pixels (..., H, W, C) at random and add them to `results`, with OpenMMLab's keys."""
    flip = np.random.random() < flip_prob  # as NumPy's choice, which RandomFlip calls
    results.update(
        img=pixels[..., ::-1, :] if flip else pixels,
        img_shape=shape,
        ori_shape=whole,
        flip=flip,
        flip_direction='horizontal' if flip else None,
    )
    return results


def read_resized(
    path: ImageFile,
    choose: Callable[[int, int], tuple[Crop, tuple[int, int]]],
    places: Sequence[Crop] | None = None,
    channels: int | None = None,
    value_range: Sequence[float] | None = None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a resized crop (H, W, C) of an image file, and the image's (height, width).

    Args:
        choose: function of the image's width and height that returns the crop and its new (H, W).
        places: parts of the result, all of one size, to return in its place as (N, h, w, C); the
            rest is not resized.
        channels: C of the file, whose dtype is kept; None = converted to 8-bit RGB, upright.
        value_range: see `read_rgb`.

    Raises:
        OSError, UnreadableImage: see `read_rgb` and `open_pixels`.
        ValueError: the file has another number of channels.
    """
    path = opened(path)
    if channels is not None:
        with open_pixels(path, channels) as file:
            crop, size = choose(file.width, file.height)
            with reasons(path):
                check_size(*crop[2:])
            pixels, crop = file.read(*crop), (0, 0, *crop[2:])
            return _resized_crop(pixels, crop, size, places=places), (file.height, file.width)
    image = _Jpeg.open(path) or read_rgb(path, value_range)
    width, height = image.size
    crop, size = choose(width, height)
    if isinstance(image, _Jpeg):
        try:
            return image.resized_crop(crop, size, places), (height, width)
        except Exception:  # damaged: read_rgb raises the reason
            image = read_rgb(path)
    return _resized_crop(image, crop, size, places=places), (height, width)


class _Jpeg:
    """Grey or RGB JPEG file, not decoded; `size` is (width, height) of the upright image."""

    def __init__(self, data: bytes, stored: tuple[int, int], orientation: int):
        self.data, self.stored, self.turned = data, stored, orientation > 1
        self.size = stored[::-1] if on_side(orientation) else stored

    @classmethod
    def open(cls, path: ImageFile) -> '_Jpeg | None':
        """Return the JPEG file; None for other files and for files that cannot be opened."""
        try:
            if first_bytes(path, len(JPEG)) != JPEG:  # do not read a large file of another format
                return None
            data = content(path)
            header = Image.open(io.BytesIO(data))
            known = header.format in ('JPEG', 'MPO') and header.mode in ('L', 'RGB')
            return cls(data, header.size, orientation(header)) if known else None
        except Exception:  # read_rgb raises the reason
            return None

    def resized_crop(
        self, crop: Crop, size: tuple[int, int], places: Sequence[Crop] | None
    ) -> np.ndarray:
        """Return the image of `read_resized`; errors are those of the decoders."""
        factor = self._reduction(crop, size)
        if factor > 1 or self.turned:
            image = Image.open(io.BytesIO(self.data))
            image.draft(image.mode, (self.stored[0] // factor, self.stored[1] // factor))
            return _resized_crop(to_rgb(image), crop, size, factor, places)
        pixels = self._pixels()
        if places is not None and size[0] * size[1] > WORTH * sum(p[2] * p[3] for p in places):
            # torch cannot resize a part that begins inside a pixel.
            return _resized_crop(pixels.permute(1, 2, 0).numpy(), crop, size, places=places)
        top, left, height, width = crop
        part = pixels[None, :, top : top + height, left : left + width]
        whole = interpolate(part, size, mode='bicubic', antialias=True)[0].permute(1, 2, 0).numpy()
        if places is None:
            return whole
        return np.stack([whole[top : top + h, left : left + w] for top, left, h, w in places])

    def _pixels(self) -> torch.Tensor:
        if simplejpeg is not None:
            return torch.from_numpy(simplejpeg.decode_jpeg(self.data)).permute(2, 0, 1)
        return decode_jpeg(torch.frombuffer(bytearray(self.data), dtype=torch.uint8), READ)

    def _reduction(self, crop: Crop, size: tuple[int, int]) -> int:
        """Return the factor by which the decoder reduces the image: 1, 2, 4 or 8."""
        room = min(crop[2] // size[0], crop[3] // size[1]) // GAP
        for factor in (8, 4, 2):
            # Padding to a multiple of the factor must not be on the left or at the top.
            even = not self.turned or all(side % factor == 0 for side in self.stored)
            if factor <= room and even:
                return factor
        return 1


def _resized_crop(
    image: Image.Image | np.ndarray,
    crop: Crop,
    size: tuple[int, int],
    factor: int = 1,
    places: Sequence[Crop] | None = None,
) -> np.ndarray:
    """Return `read_resized` by Pillow's bicubic filter, of an image that is reduced by `factor`."""
    top, left, height, width = crop
    first, last = np.array([[left, top], [left + width, top + height]]) / factor
    zoom = (last - first) / size[::-1]
    reach = REACH * zoom.clip(1) + 1
    parts = []
    for top, left, height, width in [(0, 0, *size)] if places is None else places:
        box = first + zoom * [[left, top], [left + width, top + height]]
        outer = np.stack([np.floor(box[0] - reach), np.ceil(box[1] + reach)])
        # Outside the crop, the filter may only see the pixels that the crop's edges run through.
        outer = outer.clip(np.floor(first), np.ceil(last)).astype(int)
        inner = tuple((box - outer[0]).clip(0, outer[1] - outer[0]).ravel().tolist())
        left, top, right, bottom = outer.ravel().tolist()
        if isinstance(image, Image.Image):
            part = image.crop((left, top, right, bottom))
            parts.append(np.array(part.resize((width, height), Image.Resampling.BICUBIC, inner)))
        else:
            pixels = image[top:bottom, left:right]
            parts.append(resize_pixels(pixels, (height, width), box=inner))
    return parts[0] if places is None else np.stack(parts)
