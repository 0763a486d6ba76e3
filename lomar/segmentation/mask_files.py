"""Mask files: the mask of each image in a folder, and the class ids in a file."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from lomar.datasets.color import BITS
from lomar.datasets.folder_walk import FolderWalk
from lomar.datasets.rgb_parts import PHOTOMETRIC
from lomar.datasets.unreadable import reasons

SUFFIXES = ('.png', '.tif', '.tiff', '.bmp')  # without loss
SHOWN = 3  # names in a message
LAYOUT = """\
Allowed: a folder of images and a folder of masks with equal paths below it, up to the suffix:
    images/a/0001.jpg
    masks/a/0001.png      one class id per pixel, grey of 1 to 16 bits, or palette indices
Suffixes of names are settings: --cfg-options train_dataloader.dataset.mask_suffix=_mask"""
# Pillow spreads the values of grey PNG files of 2 and 4 bits over 0 to 255.
SPREAD = {2: 85, 4: 17}
WHITE_IS_ZERO = 0  # value of PHOTOMETRIC


def find_pairs(
    images: str | Path,
    masks: str | Path,
    image_suffix: str = '',
    mask_suffix: str = '',
    arrays: bool = False,
) -> list[tuple[str, str]]:
    """Return (image, mask) of each image in a folder, in the order of their paths.

    Image and mask have the same path below their folders, without the suffix of the file and
    without `image_suffix` or `mask_suffix`. Masks without an image are left out.

    Args:
        image_suffix, mask_suffix: ends of the names before the dot; other files do not count.
        arrays: whether `.npy` files are images.

    Raises:
        FileNotFoundError: a folder does not exist, or has no images or no masks.
        ValueError: images lack a mask, or two files have the same path up to the suffix.
    """
    for name, folder in dict(images=images, masks=masks).items():
        if not Path(folder).expanduser().is_dir():
            raise FileNotFoundError(
                f'Masks: the folder of {name}, {folder}, does not exist.\n{LAYOUT}'
            )
    found = _by_stem(images, FolderWalk(Path(images).expanduser(), arrays), image_suffix)
    every = [*FolderWalk(Path(masks).expanduser(), arrays=False)]
    kept = [path for path in every if path.lower().endswith(SUFFIXES)]
    if not found or not kept:
        what, where = ('masks', masks) if found else ('images', images)
        lossy = ' (JPEG and WebP change class ids)' if found and every else ''
        raise FileNotFoundError(f'Masks: there are no {what} in {where}{lossy}.\n{LAYOUT}')
    mask_of = _by_stem(masks, kept, mask_suffix)
    if missing := [path for stem, path in found.items() if stem not in mask_of]:
        raise ValueError(
            f'Masks: {len(missing)} of {len(found)} images in {images} have no mask in {masks}, '
            f'such as {_shown(missing)}{_near(missing[0], image_suffix, mask_of)}.\n{LAYOUT}'
        )
    return [(path, mask_of[stem]) for stem, path in sorted(found.items())]


def _by_stem(root: str | Path, paths: Iterable[str], suffix: str) -> dict[str, str]:
    """Return the paths by the path below `root` without suffixes."""
    found: dict[str, str] = {}
    for path in sorted(paths):
        stem = os.path.splitext(os.path.relpath(path, Path(root).expanduser()))[0]
        if not stem.endswith(suffix):
            continue
        stem = stem.removesuffix(suffix)
        if stem in found:
            raise ValueError(
                f'Masks: {found[stem]} and {path} have the same path up to the suffix; allowed: '
                'one of the two'
            )
        found[stem] = path
    return found


def _near(image: str, image_suffix: str, mask_of: Mapping[str, str]) -> str:
    """Return a hint on a mask whose name only begins as that of an image."""
    stem = os.path.basename(os.path.splitext(image)[0]).removesuffix(image_suffix)
    near = next((path for path in mask_of.values() if os.path.basename(path).startswith(stem)), '')
    return f' (there is {near})' if near else ''


def _shown(names: list[str]) -> str:
    return ', '.join(names[:SHOWN])


def read_ids(path: str) -> np.ndarray:
    """Return the class ids in a mask file, (H, W) uint8, uint16 or int32.

    Ids are grey values of 1 to 16 bits, palette indices, or colours whose channels are all equal.

    Raises:
        UnreadableImage: the file is missing, damaged, or has colours.
    """
    with reasons(path), Image.open(path) as image:
        if (pages := getattr(image, 'n_frames', 1)) > 1:
            raise ValueError(f'has {pages} pages; allowed: one')
        if getattr(image, 'tag_v2', {}).get(PHOTOMETRIC) == WHITE_IS_ZERO:
            raise ValueError(
                'is stored with 0 as white (WhiteIsZero), which leaves open whether ids are the '
                'stored or the shown values; allowed: BlackIsZero. Write the ids as PNG'
            )
        pixels, mode = np.asarray(image), image.mode
        if mode == '1':
            return pixels.astype(np.uint8)
        if mode == 'L':  # Pillow spreads grey values of 2 and 4 bits over 0 ... 255
            return pixels // SPREAD.get(_grey_bits(path, image), 1)
        if mode in ('RGB', 'RGBA', 'LA'):
            colours = pixels[..., : 1 if mode == 'LA' else 3]  # without alpha
            if (colours == colours[..., :1]).all():
                return colours[..., 0]
        if mode not in ('L', 'P', 'I', 'I;16', 'I;16B', 'I;16L'):
            raise ValueError(
                f'has colours or fractions ({mode}) instead of one class id per pixel; allowed: '
                'grey of 1 to 16 bits, or palette indices'
            )
        return pixels


def _grey_bits(path: str, image: Image.Image) -> int:
    """Return the bits per value in the header of a PNG or TIFF file, and 8 for others."""
    if image.format == 'PNG':
        with open(path, 'rb') as file:
            return file.read(25)[24]
    bits = getattr(image, 'tag_v2', {}).get(BITS, 8)
    return bits[0] if isinstance(bits, tuple) else bits
