"""Rules that decide which COCO annotations are trained and evaluated on."""

import math
import sys
from collections.abc import Callable
from operator import mul
from typing import Any, TypeGuard

from pycocotools import mask as rle

# Reasons for which an annotation is left out, in the words of "is left out, as ...".
FRACTIONS = 'its box is in fractions of the image, not in pixels'
SMALL = 'its box is less than one pixel wide or high'
OUTSIDE = 'its box is outside of the image'
MISSING_MASK = 'segmentation is missing, and masks are needed'
NO_MASK = 'its segmentation is empty'
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
    box = _box(annotation)
    if reason := _unreachable(box, image) or (SMALL if min(box[2:]) < 1 else ''):
        return None, reason
    one = _common(annotation)
    if masks:
        one['segmentation'], reason = usable_segmentation(annotation, image, _covers_pixels)
        if reason:
            return None, reason
    return one, ''


def evaluation_object(annotation: dict, image: dict, masks: bool) -> tuple[dict | None, str]:
    """Return an annotation for evaluation; otherwise None and the reason.

    As in pycocotools, every object counts that a detection can overlap, however small. `area` is
    positive, in pixels; a missing area is computed from the mask, or without masks from the box.
    With `masks`, the reason may also be why the annotation has no mask: it has no `segmentation`,
    and counts for boxes only.

    Raises:
        WrongEntry: box or segmentation are missing or malformed.
    """
    box, reason = _box(annotation), ''
    if unreachable := _unreachable(box, image):
        return None, unreachable
    one = {**_common(annotation), 'area': box[2] * box[3]}
    if masks:
        segmentation, reason = usable_segmentation(annotation, image, is_near)
        if segmentation and _has_pixels(segmentation, *_size(image)):
            one['segmentation'] = segmentation
        else:
            reason = reason or MASK
    if has_area(annotation):
        one['area'] = annotation['area']
    elif 'segmentation' in one:
        one['area'] = _mask_area(one['segmentation'], *_size(image))
    return one, reason


def _box(annotation: dict) -> list[float]:
    box = annotation.get('bbox')
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        raise WrongEntry('bbox is not four finite numbers: ', box)
    return box


def _unreachable(box: list[float], image: dict) -> str:
    """Return why no detection can overlap a box [x, y, w, h], or ''."""
    x, y, w, h = box
    if w <= 0 or h <= 0:
        return SMALL
    if max(box) <= 1:
        return FRACTIONS
    inside_w = min(x + w, image['width']) - max(x, 0)
    inside_h = min(y + h, image['height']) - max(y, 0)
    return OUTSIDE if min(inside_w, inside_h) <= 0 else ''


def _common(annotation: dict) -> dict:
    """Return what training and evaluation need of an annotation besides its mask."""
    flags = annotation.get('iscrowd'), annotation.get('ignore')
    if any(flag not in (0, 1, None) for flag in flags):  # '0' would be true
        raise WrongEntry('iscrowd and ignore must be 0 or 1: ', flags)
    one = {key: annotation[key] for key in ('image_id', 'category_id', 'bbox')}
    return {**one, 'iscrowd': int(any(flags))}


def _size(image: dict) -> tuple[int, int]:
    return int(image['height']), int(image['width'])


def has_area(annotation: dict) -> bool:
    """Return whether an annotation has an area above 0."""
    area = annotation.get('area')
    return is_number(area) and area > 0


def usable_segmentation(
    annotation: dict, image: dict, accepted: Callable[[list, int, int], bool]
) -> tuple[list | dict | None, str]:
    """Return the accepted polygons, or the RLE; otherwise None and the reason.

    Raises:
        WrongEntry: the segmentation is missing or malformed.
    """
    segmentation = annotation.get('segmentation')
    height, width = _size(image)
    if not segmentation:
        raise WrongEntry(MISSING_MASK)
    if isinstance(segmentation, dict):
        runs = _runs(segmentation, height, width)
        return (segmentation, '') if any(runs[1::2]) else (None, MASK)
    if not isinstance(segmentation, list) or not all(isinstance(p, list) for p in segmentation):
        raise WrongEntry('segmentation is no list of polygons and no RLE: ', segmentation)
    if not any(segmentation):
        return None, NO_MASK
    try:
        polygons = [one for one in segmentation if accepted(one, height, width)]
    except (TypeError, OverflowError):
        raise WrongEntry('segmentation has polygons not of numbers: ', segmentation) from None
    return (polygons, '') if polygons else (None, MASK)


def is_near(polygon: list[float], height: int, width: int) -> bool:
    """Return whether [x, y, ...] has three finite points and is near the image."""
    if not all(map(math.isfinite, polygon)) or len(polygon) < 6 or len(polygon) % 2:
        return False
    xs, ys = polygon[::2], polygon[1::2]
    left, right, top, bottom = min(xs), max(xs), min(ys), max(ys)
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return False
    # pycocotools steps along every edge, so that a coordinate of 1e9 would use all memory.
    return left >= -width and right <= 2 * width and top >= -height and bottom <= 2 * height


def _covers_pixels(polygon: list[float], height: int, width: int) -> bool:
    """Return whether [x, y, ...] is near the image and has an area of one pixel."""
    if not is_near(polygon, height, width):
        return False
    xs, ys = polygon[::2], polygon[1::2]
    turned = sum(map(mul, xs, ys[1:] + ys[:1])) - sum(map(mul, xs[1:] + xs[:1], ys))
    return abs(turned) >= 2


def _has_pixels(segmentation: list | dict, height: int, width: int) -> bool:
    """Return whether an RLE or polygons near the image cover a pixel."""
    if isinstance(segmentation, dict) or any(
        _covers_pixels(p, height, width) for p in segmentation
    ):
        return True
    return _mask_area(segmentation, height, width) > 0


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
