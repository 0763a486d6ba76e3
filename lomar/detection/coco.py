"""COCO annotation files: reading, and the objects of an annotation for training and evaluation."""

import codecs
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from operator import mul
from pathlib import Path

import msgspec
from pycocotools import mask as rle

LISTS = ('images', 'annotations', 'categories')
LAYOUT = """\
A dataset is a COCO json file and the folder that its file names are relative to:
    data/mine/annotations/train.json     --train-ann
    data/mine/train/000001.jpg           --train-images
and the same for validation, --val-ann and --val-images. The embedded dataset has this layout:
    lomar shapes --out data/shapes"""
BOX = 'its box is below one pixel or outside the image'
MASK = 'its segmentation has no pixel, or no polygon of three finite points near the image'
decode = msgspec.json.Decoder().decode


class WrongEntry(ValueError):
    """Error for a malformed annotation; `kind` is the same for all errors of this kind."""

    def __init__(self, kind: str, detail: object = ''):
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


class CocoLists(msgspec.Struct):
    """Lists of an annotation file; images and annotations are not decoded."""

    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list


class LazyEntries(Sequence):
    """Entries of a list in a JSON file, decoded one at a time.

    COCO's annotations are 0.4 GB of text, and 2 GB as Python objects.
    """

    def __init__(self, path: str | os.PathLike, texts: list[msgspec.Raw]):
        self.path, self.texts = path, texts

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> object:
        return self._decoded(self.texts[index])

    def __iter__(self) -> Iterator[object]:
        return map(self._decoded, self.texts)

    def _decoded(self, text: msgspec.Raw) -> object:
        try:
            return decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError):  # perhaps 1e999, which is inf to Python
            return _python_json(self.path, bytes(text))


def read_coco(path: str | os.PathLike) -> dict:
    """Read the three lists of an annotation file; entries may be decoded when they are used.

    Raises:
        FileNotFoundError: the file does not exist; the message describes the expected layout.
        ValueError: the file is not json, or lacks one of COCO's three lists.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f'Annotations: {path} does not exist.\n{LAYOUT}')
    content = Path(path).read_bytes().removeprefix(codecs.BOM_UTF8)  # added by editors on Windows
    try:
        lists = msgspec.json.decode(content, type=CocoLists)
    except (msgspec.MsgspecError, UnicodeDecodeError):  # NaN, which Python reads, or an error
        coco = _python_lists(path, content)
    else:
        coco = dict(
            images=LazyEntries(path, lists.images),
            annotations=LazyEntries(path, lists.annotations),
            categories=lists.categories,
        )
    for index, category in enumerate(coco['categories']):
        named = isinstance(category, dict) and isinstance(category.get('name'), str)
        if not named or type(category.get('id')) is not int:
            raise ValueError(
                f'{path}: categories[{index}]: needs an integer id and a name, got '
                f'{short(category)}'
            )
    return coco


def class_names(coco: dict) -> tuple[str, ...]:
    """Return the names of the categories in the order of their ids, as in the labels."""
    return tuple(one['name'] for one in sorted(coco['categories'], key=lambda one: one['id']))


def normalised_coco(coco: dict, masks: bool = True) -> dict:
    """Return the annotations for the evaluation by pycocotools.

    Categories are in the order of their ids. Objects that training leaves out are left out, too.
    Annotations get new ids from 1, because the id 0 means "no match" in pycocotools.

    Args:
        masks: whether masks are evaluated; otherwise the result has no masks.
    """
    entries = list(coco['images'])
    images = {image['id']: image for image in entries}
    kept = []
    for annotation in coco['annotations']:
        image = images[annotation['image_id']]
        try:
            one = evaluation_object(annotation, image, masks)
        except WrongEntry:  # without a mask, of a class that the config leaves out
            one = evaluation_object(annotation, image, masks=False)
        if one:
            kept.append({**one, 'id': len(kept) + 1})
    categories = sorted(coco['categories'], key=lambda one: one['id'])
    return dict(info={}, images=entries, annotations=kept, categories=categories)


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


def is_number(value: object) -> bool:
    """Return whether a value from a json file is a finite number."""
    # A json integer may be too large for math.isfinite.
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def short(value: object) -> str:
    """Return a value as text, shortened to 300 characters."""
    text = str(value)
    return text if len(text) <= 300 else f'{text[:300]} ...'


def _python_json(path: str | os.PathLike, text: bytes) -> object:
    """Return JSON decoded by Python, which accepts NaN, infinity and numbers of any size."""
    try:
        return json.loads(text.decode())
    except ValueError as error:
        raise ValueError(f'{path}: this is no json: {error}') from error


def _python_lists(path: str | os.PathLike, text: bytes) -> dict:
    """Return the decoded content of a file; raise a ValueError without the three lists."""
    coco = _python_json(path, text)
    found = sorted(coco) if isinstance(coco, dict) else type(coco).__name__
    for name in LISTS:
        if not isinstance(coco, dict) or not isinstance(coco.get(name), list):
            raise ValueError(
                f"{path}: no list '{name}'; expected is an object with the lists "
                f'{", ".join(LISTS)}, found {short(found)}'
            )
    return coco


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
    runs, number, shift = [], 0, 0
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
