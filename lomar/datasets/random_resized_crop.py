"""From an image file to a random crop at one size, decoding no more than the crop needs."""

import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch.nn.functional import interpolate
from torchvision.io import ImageReadMode, decode_jpeg

from lomar.datasets.image_io import read_rgb, to_rgb

try:
    import simplejpeg
except ImportError:  # torchvision decodes to the same pixels, a little slower
    simplejpeg = None

ORIENTATION = 0x0112  # EXIF tag; 2 to 8 is anything but upright, 5 to 8 lies on its side
GAP = 2  # decoded pixels for each one wanted, in both directions: what Pillow's thumbnails keep
REACH = 2  # of the bicubic filter to both sides, in pixels of the smaller image
WORTH = 6  # pixels for which torch takes about as long as Pillow for one
FRAMES = (0xC0, 0xC1, 0xC2)  # JPEG markers: baseline, extended, progressive
APP1, SCAN = 0xE1, 0xDA
READ = ImageReadMode.RGB

Crop = tuple[int, int, int, int]  # top, left, height, width in pixels of the upright image


@TRANSFORMS.register_module()
class LoadRandomResizedCrop(BaseTransform):
    """`LoadRGB`, mmpretrain's `RandomResizedCrop` by Pillow, bicubic, and `RandomFlip`, but faster.

    The same random state draws the same crop and flip. Pixels of a JPEG file differ by rounding,
    and by a little more where the crop is at least four times as large as `scale` and the file is
    decoded at a half, a quarter or an eighth of its size. Other files give the same pixels.

    Args:
        scale: side, or (height, width), of what is made, in pixels.
        crop_ratio_range: least and largest share of the image's area.
        aspect_ratio_range: least and largest width / height of the crop.
        flip_prob: share of the images that are mirrored.
    """

    def __init__(
        self,
        scale: int | tuple[int, int],
        crop_ratio_range: tuple[float, float] = (0.08, 1.0),
        aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3),
        flip_prob: float = 0.5,
    ):
        self.flip_prob = flip_prob
        self.random = TRANSFORMS.build(
            dict(
                type='mmpretrain.RandomResizedCrop',
                scale=scale,
                crop_ratio_range=crop_ratio_range,
                aspect_ratio_range=aspect_ratio_range,
            )
        )

    def transform(self, results: dict) -> dict:
        """Add `img`, (H, W, 3) uint8 in the order R, G, B, and what the three transforms add.

        Raises:
            UnreadableImage: where `read_rgb` does.
        """
        pixels, (width, height) = self._read(results['img_path'])
        flip = np.random.random() < self.flip_prob  # as NumPy's choice, which RandomFlip calls
        results.update(
            img=pixels[:, ::-1] if flip else pixels,
            img_shape=pixels.shape,
            ori_shape=(height, width),
            flip=flip,
            flip_direction='horizontal' if flip else None,
        )
        return results

    def _read(self, path: str | Path) -> tuple[np.ndarray, tuple[int, int]]:
        return read_resized(path, self._draw)

    def _draw(self, width: int, height: int) -> tuple[Crop, tuple[int, int]]:
        crop = self.random.rand_crop_params(np.empty((height, width, 0)))  # the shape counts
        return crop, tuple(self.random.scale)


def read_resized(
    path: str | Path,
    choose: Callable[[int, int], tuple[Crop, tuple[int, int]]],
    places: Sequence[Crop] | None = None,
) -> tuple[np.ndarray, tuple[int, int]]:
    """A part of an image at a size, (H, W, 3) uint8 RGB, and the upright image's (width, height).

    `choose` gets that width and height and gives the part and its (H, W).

    Args:
        places: parts of the result, all of one size, that are wanted in its stead, (N, h, w, 3);
            nothing else is resized.

    Raises:
        UnreadableImage: where `read_rgb` does.
    """
    jpeg = _Jpeg.open(path)
    image = read_rgb(path) if jpeg is None else None
    whole = (image or jpeg).size
    crop, size = choose(*whole)
    if jpeg is not None:
        try:
            return jpeg.resized_crop(crop, size, places), whole
        except (OSError, RuntimeError, SyntaxError, ValueError):  # damaged: read_rgb decides
            image = read_rgb(path)
    return _resized_crop(image, crop, size, places=places), whole


class _Jpeg:
    """A grey or RGB JPEG file, not decoded; `size` is width and height of the upright image."""

    def __init__(self, data: bytes, stored: tuple[int, int], orientation: int):
        self.data, self.stored, self.turned = data, stored, 2 <= orientation <= 8
        self.size = stored[::-1] if 5 <= orientation <= 8 else stored

    @classmethod
    def open(cls, path: str | Path) -> '_Jpeg | None':
        """None for all other files, also for those that cannot be opened."""
        try:
            data = Path(path).read_bytes()
            if stored := _plain_size(data):
                return cls(data, stored, 1)
            header = Image.open(io.BytesIO(data))
            known = header.format in ('JPEG', 'MPO') and header.mode in ('L', 'RGB')
            return cls(data, header.size, header.getexif().get(ORIENTATION, 1)) if known else None
        except Exception:  # read_rgb says what is wrong
            return None

    def resized_crop(
        self, crop: Crop, size: tuple[int, int], places: Sequence[Crop] | None
    ) -> np.ndarray:
        """As `read_resized`; raises whatever the decoders do."""
        factor = self._reduction(crop, size)
        if factor > 1 or self.turned:
            image = Image.open(io.BytesIO(self.data))
            image.draft(image.mode, tuple(side // factor for side in self.stored))
            return _resized_crop(to_rgb(image), crop, size, factor, places)
        pixels = self._pixels()
        if places is not None and size[0] * size[1] > WORTH * sum(p[2] * p[3] for p in places):
            # torch cannot resize a part that begins within a pixel.
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
        """How many times smaller to decode: 1, 2, 4 or 8."""
        room = min(crop[2] // size[0], crop[3] // size[1]) // GAP
        for factor in (8, 4, 2):
            # Padding to a multiple of the factor must not end up on the left or at the top.
            even = not self.turned or all(side % factor == 0 for side in self.stored)
            if factor <= room and even:
                return factor
        return 1


def _plain_size(data: bytes) -> tuple[int, int] | None:
    """Width and height if this is an 8-bit grey or YCbCr JPEG without EXIF and XMP, else None.

    Pillow finds out the same in ten times the time.
    """
    if not data.startswith(b'\xff\xd8'):
        return None
    at, size, most = 2, None, Image.MAX_IMAGE_PIXELS or float('inf')
    while data[at] == 0xFF and 0xC0 <= (marker := data[at + 1]) < 0xFF and marker != APP1:
        if marker == SCAN:
            return size
        if marker in FRAMES:
            bits, height, width, channels = struct.unpack_from('>BHHB', data, at + 4)
            if bits != 8 or channels not in (1, 3) or width * height > most:
                return None
            size = width, height
        at += 2 + int.from_bytes(data[at + 2 : at + 4], 'big')
    return None


def _resized_crop(
    image: Image.Image | np.ndarray,
    crop: Crop,
    size: tuple[int, int],
    factor: int = 1,
    places: Sequence[Crop] | None = None,
) -> np.ndarray:
    """`read_resized` by Pillow, bicubic; the image is `factor` times smaller than the crop's."""
    top, left, height, width = crop
    first, last = np.array([[left, top], [left + width, top + height]]) / factor
    zoom = (last - first) / size[::-1]
    reach = REACH * zoom.clip(1) + 1
    parts = []
    for top, left, height, width in [(0, 0, *size)] if places is None else places:
        box = first + zoom * [[left, top], [left + width, top + height]]
        outer = np.stack([np.floor(box[0] - reach), np.ceil(box[1] + reach)])
        # The filter may not see more than the rest of the pixels that the crop's edges run through.
        outer = outer.clip(np.floor(first), np.ceil(last)).astype(int)
        part = _cut(image, *outer.ravel().tolist())
        inner = (box - outer[0]).clip(0, part.size).ravel().tolist()
        parts.append(np.array(part.resize((width, height), Image.BICUBIC, box=tuple(inner))))
    return parts[0] if places is None else np.stack(parts)


def _cut(
    image: Image.Image | np.ndarray, left: int, top: int, right: int, bottom: int
) -> Image.Image:
    if isinstance(image, Image.Image):
        return image.crop((left, top, right, bottom))
    return Image.fromarray(image[top:bottom, left:right])
