"""Reading whatever image files people have as RGB."""

from pathlib import Path

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = frozenset(('.jpg', '.jpeg', '.png', '.webp', '.tif', '.tiff', '.bmp', '.npy'))
NOT_RGB = ' (arrays and TIFF files of many channels are for LoadChannels, see docs/channels.md)'


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


@TRANSFORMS.register_module()
class LoadRGB(BaseTransform):
    """Read `img_path` into `img`, (H, W, 3) uint8 in the order R, G, B.

    mmcv's own loader returns B, G, R and cannot read CMYK or palette images with transparency.
    """

    def transform(self, results: dict) -> dict:
        """Add `img`, `img_shape` and `ori_shape` (height, width)."""
        results['img'] = np.array(read_rgb(results['img_path']))
        results['img_shape'] = results['ori_shape'] = results['img'].shape[:2]
        return results
