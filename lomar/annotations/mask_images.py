"""Reader of masks as PNG files, in three layouts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from lomar.annotations.image_folder import ImageFolder, inside
from lomar.annotations.source import (
    ImportReport,
    SourceError,
    SourceImage,
    SourceObject,
    files_in,
)
from lomar.detection.run_lengths import placed_rle

LARGEST = 2**16 - 1  # value in a PNG
ONE_VALUE = 'has one value besides 0, 255, as masks without ids have (--layout regions)'


def read_masks(
    source: Path,
    folder: ImageFolder,
    report: ImportReport,
    name: str | None,
    layout: str = 'ids',
    void: int = 0,
) -> Iterator[SourceImage]:
    """Yield the images that have masks.

    The PNG or the folder of an image has the image's path without suffix. In the first folder below
    `source`, both may be in a folder per class, whose name is the class.

    Args:
        name: class of all objects; None = the folders name the classes.
        layout: 'ids' (one PNG per image: 0 = background, every other value is an object), 'regions'
            (every connected region is an object) or 'objects' (a folder of PNGs per image).
        void: value that is background, too.
    """
    found: dict[str, SourceImage] = {}
    for path in files_in(source, '.png'):
        with report.collecting():
            where, relative = str(path), path.relative_to(source)
            inside(source, relative.as_posix(), where)
            key = relative.parent if layout == 'objects' else relative.with_suffix('')
            stem, label = _place(key, where, name)
            file_name = folder.with_stem(stem, where)
            image = found.setdefault(file_name, SourceImage(file_name, where))
            size = folder.size(file_name, where)
            for mask in _masks(path, layout, void, size, report):
                rle = placed_rle(mask, 0, 0, *mask.shape)
                image.objects.append(SourceObject(label, where, rle=rle))
    yield from found.values()


def _place(key: Path, where: str, name: str | None) -> tuple[str, str]:
    """Return the path without suffix of the image, and the class, of a mask."""
    if name is not None:
        return key.as_posix(), name
    label, stem = key.parts[0] if key.parts else '', Path(*key.parts[1:]).as_posix()
    if len(key.parts) < 2:
        raise SourceError(where, 'is in no folder of a class; --classes NAME names the only class')
    return stem, label


def _masks(
    path: Path, layout: str, void: int, size: tuple[int, int], report: ImportReport
) -> Iterator[np.ndarray]:
    """Yield the mask (H, W) of each object in a PNG."""
    pixels = _pixels(path)
    if pixels.shape != size[::-1]:
        what = f'{pixels.shape[1]} x {pixels.shape[0]}, the image has {size[0]} x {size[1]}'
        raise SourceError(str(path), 'the mask has another size than the image: ', what)
    pixels[pixels == void] = 0
    if layout == 'objects':
        if not pixels.any():
            report.note(str(path), 'the mask is empty, and is left out')
            return
        pixels = pixels > 0
    elif layout == 'regions':
        import cv2

        _, pixels = cv2.connectedComponents((pixels > 0).astype(np.uint8), connectivity=8)
    values = np.unique(pixels)
    if layout == 'ids' and set(values.tolist()) <= {0, 255} and 255 in values:
        report.note(str(path), ONE_VALUE)
    for value in values[values > 0]:
        yield pixels == value


def _pixels(path: Path) -> np.ndarray:
    """Return the values (H, W) of a PNG: grey, also in equal channels, or palette indices."""
    try:
        with Image.open(path, formats=['PNG']) as png:
            mode, pixels = png.mode, np.asarray(png)
    except Exception as error:  # decoders of damaged files raise all sorts
        raise SourceError(str(path), 'cannot be read as PNG: ', error) from None
    if pixels.ndim == 3:
        colors = pixels[..., : 3 if mode.startswith('RGB') else 1]  # without alpha
        pixels = colors[..., 0] if (colors == colors[..., :1]).all() else pixels
    if pixels.ndim != 2:
        allowed = '; allowed: grey of 1 to 16 bits, or a palette'
        raise SourceError(str(path), 'has colors, not one value per pixel: ', f'{mode}{allowed}')
    return pixels.astype(np.int64)
