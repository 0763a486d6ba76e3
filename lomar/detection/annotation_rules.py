"""Rules that decide which COCO annotations are trained and evaluated on."""

import math
import sys
from operator import mul
from typing import Any, TypeGuard

from pycocotools import mask as rle

BOX = 'its box is below one pixel or outside the image'
MASK = 'its segmentation has no pixel, or no polygon of three finite points near the image'


class WrongEntry(ValueError):
    """Error for a malformed annotation; `kind` is the same for all errors of this kind."""

    def __init__(self, kind: str, detail: object = ''):
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


def training_object(annotation: dict, image: dict, masks: bool) -> tuple[dict | None, str]:
    """Return an annotation for training; otherwise None and the reason.

    `iscrowd` is 1 for regions to ignore, otherwise 0. With `masks`, pycocotools can rasterise
    `segmentation`.

    Raises:
        WrongEntry: box or segmentation are missing or malformed.
    """
    box = annotation.get('bbox')
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise WrongEntry('bbox is not four finite numbers: ', box)
    x, y, w, h = box
    inside_w = min(x + w, image['width']) - max(x, 0)
    inside_h = min(y + h, image['height']) - max(y, 0)
    if min(w, h) < 1 or min(inside_w, inside_h) <= 0:
        return None, BOX
    one = {key: annotation[key] for key in ('image_id', 'category_id', 'bbox')}
    flags = annotation.get('iscrowd'), annotation.get('ignore')
    if any(flag not in (0, 1, None) for flag in flags):  # '0' would be true
        raise WrongEntry('iscrowd and ignore must be 0 or 1: ', flags)
    one['iscrowd'] = int(any(flags))
    if masks:
        size = int(image['height']), int(image['width'])
        one['segmentation'] = _usable(annotation.get('segmentation'), *size)
        if not one['segmentation']:
            return None, MASK
    return one, ''


def evaluation_object(annotation: dict, image: dict, masks: bool) -> dict | None:
    """Return an annotation for evaluation, or None if training leaves the annotation out.

    The result of `training_object` gets a positive `area` in pixels. A missing area is computed
    from the mask, or without masks from the box.
    """
    one, _ = training_object(annotation, image, masks)
    if one is None:
        return None
    if has_area(annotation):
        area = annotation['area']
    elif masks:
        area = _mask_area(one['segmentation'], int(image['height']), int(image['width']))
    else:
        area = one['bbox'][2] * one['bbox'][3]
    return {**one, 'area': area}


def has_area(annotation: dict) -> bool:
    """Return whether an annotation has an area above 0."""
    area = annotation.get('area')
    return is_number(area) and area > 0


def _usable(segmentation: object, height: int, width: int) -> list | dict | None:
    """Return the polygons that cover a pixel, or the RLE; an empty value if nothing is covered."""
    if not segmentation:
        raise WrongEntry(
            'segmentation is missing, and the config trains masks; boxes only? use a faster-rcnn '
            'config'
        )
    if isinstance(segmentation, dict):
        runs = _runs(segmentation, height, width)
        return segmentation if any(runs[1::2]) else None
    if not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        raise WrongEntry('segmentation is no list of polygons and no RLE: ', segmentation)
    try:
        return [one for one in segmentation if _covers_pixels(one, height, width)]
    except (TypeError, OverflowError):
        raise WrongEntry('segmentation has polygons not of numbers: ', segmentation) from None


def _covers_pixels(polygon: list[float], height: int, width: int) -> bool:
    """Return whether [x, y, ...] has three points, an area of one pixel, and is near the image."""
    if not all(map(math.isfinite, polygon)) or len(polygon) < 6 or len(polygon) % 2:
        return False
    xs, ys = polygon[::2], polygon[1::2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return False
    # pycocotools steps along every edge, so that a coordinate of 1e9 would use all memory.
    if left < -width or right > 2 * width or top < -height or bottom > 2 * height:
        return False
    turned = sum(map(mul, xs, ys[1:] + ys[:1])) - sum(map(mul, xs[1:] + xs[:1], ys))
    return abs(turned) >= 2


def _runs(segmentation: dict, height: int, width: int) -> list[int]:
    """Return the run lengths of an RLE after checks, which pycocotools does not do."""
    size, counts = segmentation.get('size'), segmentation.get('counts')
    if size != [height, width]:
        raise WrongEntry(
            'the size of the RLE is not the [height, width] of the image: ',
            f'{size}, the image has {[height, width]}',
        )
    if isinstance(counts, str):
        counts = _decompressed(counts)
    if not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        raise WrongEntry('the counts of the RLE are neither numbers nor their compressed text')
    if sum(counts) != height * width:
        raise WrongEntry(
            'the counts of the RLE do not add up to the image: ',
            f'{sum(counts)} of {height * width} pixels',
        )
    return counts


def _decompressed(text: str) -> list[int] | None:
    """Decode compressed counts: 5 bits per character, differences from the third number on."""
    runs: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            return None
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:  # last character of a number; bit 16 is the sign
            number -= (bits & 16) << 1 << (shift - 5)
            runs.append(number + (runs[-2] if len(runs) > 2 else 0))
            number, shift = 0, 0
    return None if shift else runs


def _mask_area(segmentation: list | dict, height: int, width: int) -> float:
    if isinstance(segmentation, dict):
        return float(sum(_runs(segmentation, height, width)[1::2]))
    return float(rle.area(rle.merge(rle.frPyObjects(segmentation, height, width))))


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value from a json file is a finite number."""
    # A json integer may be too large for math.isfinite.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max
