"""Conversion of annotated images to the three lists of a COCO file."""

from collections.abc import Iterable, Sequence

from pycocotools import mask as rle

from lomar.annotations.image_folder import ImageFolder
from lomar.annotations.outlines import bounds
from lomar.annotations.source import (
    ImportReport,
    SourceError,
    SourceImage,
    SourceObject,
    one_line,
)
from lomar.detection.annotation_rules import SMALL, evaluation_object

CLIPPED = 'the box reaches out of the image, and is clipped: '
LEFT_OUT = 'is left out, as '
DUPLICATE = 'is the same object as another one, and is left out: '
OTHER_CLASS = 'is of a class that --classes leaves out: '
UNLISTED = 'is of a class that the source does not list: '
FLAGGED = 'is marked '
OTHER_SIZE = 'the size is not that of the file, which counts: '
UNANNOTATED = 'has no annotations, and has no objects'
ROUNDING = 1e-3  # pixels that a box may lie out of its image without a note
DIGITS = 3  # of coordinates, after the point


def to_coco(
    images: Iterable[SourceImage],
    folder: ImageFolder,
    report: ImportReport,
    order: Sequence[str] = (),
    classes: Sequence[str] = (),
    difficult: str = 'ignore',
    only_annotated: bool = False,
) -> dict:
    """Return the images in the order of their names, with ids from 1, as COCO's three lists.

    Args:
        order: classes in the order of the source; () = sorted names of the classes that occur.
        classes: classes to take, in this order; () = all.
        difficult: what becomes of objects that the source calls difficult: 'ignore' sets iscrowd,
            which marks regions to ignore; 'keep' makes them ordinary objects; 'drop' leaves them
            out.
        only_annotated: whether to leave out images that the source does not name.
    """
    found: dict[str, SourceImage] = {}
    for image in images:
        with report.collecting():
            if image.file_name in found:
                where = found[image.file_name].where
                raise SourceError(image.where, 'has the image of ', where)
            found[image.file_name] = image
    if not only_annotated:
        for name in folder.unused():
            where = f'{folder.root / name}'
            found[name] = SourceImage(name, where)
            report.note(where, UNANNOTATED)
    names = (
        classes or order or sorted({one.name for each in found.values() for one in each.objects})
    )
    ids = {name: number for number, name in enumerate(names, 1)}
    categories = [dict(id=number, name=name) for name, number in ids.items()]
    coco: dict = dict(images=[], annotations=[], categories=categories)
    for _, image in sorted(found.items()):
        with report.collecting():
            entry = _image(image, folder, report, len(coco['images']) + 1)
            coco['images'].append(entry)
            for one in _annotations(image, entry, ids, bool(classes), difficult, report):
                coco['annotations'].append({'id': len(coco['annotations']) + 1, **one})
    return coco


def _image(image: SourceImage, folder: ImageFolder, report: ImportReport, number: int) -> dict:
    width, height = size = folder.size(image.file_name, image.where)
    if image.stated not in (None, size):
        exif = ' upright, by its EXIF orientation' if folder.is_turned(image.file_name) else ''
        stated = ' x '.join(f'{side:g}' for side in image.stated or ())
        report.note(image.where, OTHER_SIZE, f'{stated}, but it is {width} x {height}{exif}')
    return dict(id=number, file_name=image.file_name, width=width, height=height)


def _annotations(
    image: SourceImage,
    entry: dict,
    ids: dict[str, int],
    chosen: bool,
    difficult: str,
    report: ImportReport,
) -> Iterable[dict]:
    """Yield the annotations of an image, without ids; the user has chosen the classes, or not."""
    seen = set()
    for one in image.objects:
        same = one.name, one.box, repr(one.polygons), repr(one.rle)
        if one.name not in ids:
            if chosen:
                report.note(one.where, OTHER_CLASS, one.name)
            else:
                report.errors.add(one.where, UNLISTED, one_line(one.name))
        elif 'difficult' in one.flags and difficult == 'drop':
            report.note(one.where, f'{LEFT_OUT}it is difficult', f', {one.name}')
        elif same in seen:
            report.note(one.where, DUPLICATE, one.name)
        else:
            seen.add(same)
            if annotation := _annotation(one, entry, ids[one.name], difficult, report):
                yield annotation


def _annotation(
    one: SourceObject, entry: dict, category: int, difficult: str, report: ImportReport
) -> dict | None:
    """Return an annotation, or None if no detection can overlap the object, with a note."""
    ignored = 'difficult' in one.flags and difficult == 'ignore'
    segmentation, (x, y, x2, y2) = _outline(one)
    annotation = dict(
        image_id=entry['id'],
        category_id=category,
        iscrowd=int(ignored),
        bbox=[x, y, x2 - x, y2 - y],
        **segmentation,
    )
    checked, reason = evaluation_object(annotation, entry, masks=bool(segmentation))
    box = _clipped((x, y, x2, y2), entry)
    if checked is None or reason or min(box[2:]) <= 0:
        report.note(one.where, LEFT_OUT + (reason or SMALL), f', {one.name} {[x, y, x2, y2]}')
        return None
    if min(x, y) < -ROUNDING or x2 > entry['width'] + ROUNDING or y2 > entry['height'] + ROUNDING:
        report.note(one.where, CLIPPED, [x, y, x2, y2])
    for flag in sorted(one.flags):
        report.note(one.where, FLAGGED + flag)
    area = checked['area'] if segmentation else round(box[2] * box[3], DIGITS)
    return {**annotation, 'bbox': box, 'area': area, **dict.fromkeys(sorted(one.flags), 1)}


def _outline(one: SourceObject) -> tuple[dict, tuple[float, float, float, float]]:
    """Return the segmentation of an object, {} for a box, and the corners of its box."""
    if one.rle:
        left, top, width, height = map(float, rle.toBbox(one.rle))
        return dict(segmentation=one.rle), (left, top, left + width, top + height)
    if one.polygons:
        polygons = [[_rounded(value) for value in each] for each in one.polygons]
        return dict(segmentation=polygons), bounds(polygons)
    assert one.box is not None
    return {}, one.box


def _clipped(corners: tuple[float, float, float, float], entry: dict) -> list[float]:
    """Return the part of a box in its image as [x, y, width, height]."""
    sides = (entry['width'], entry['height']) * 2
    x, y, x2, y2 = (min(max(value, 0), side) for value, side in zip(corners, sides, strict=True))
    return [_rounded(value) for value in (x, y, x2 - x, y2 - y)]


def _rounded(value: float) -> float:
    """Return a coordinate without digits below `ROUNDING`; a whole number as an integer."""
    rounded = round(value, DIGITS)
    return int(rounded) if rounded == int(rounded) else rounded
