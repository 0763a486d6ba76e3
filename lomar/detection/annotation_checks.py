"""Checks of COCO annotation files before the first step, each finding with file and entry."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache

from lomar.datasets.upright_size import upright_size
from lomar.detection.annotation_doubts import CornerBoxes, add_crowds
from lomar.detection.annotation_report import AnnotationReport
from lomar.detection.annotation_rules import (
    MISSING_MASK,
    WrongEntry,
    evaluation_object,
    has_area,
    is_number,
    training_object,
)
from lomar.detection.category_labels import add_unknown, choose_categories
from lomar.detection.coco import LAYOUT, read_coco
from lomar.detection.missing_objects import OTHER_CLASS, add_missing_objects, boxes_only

OPENED = 500  # number of evenly spread images whose size is read from the file
CROWD_NOTE = {
    True: 'is a crowd, which is no object to train on',
    False: 'is a crowd, in which detections are not counted',
}


def check_coco(
    ann_file: str,
    image_folder: str,
    masks: bool,
    classes: Sequence[str] | None = None,
    model_classes: Sequence[str] | None = None,
    training: bool = True,
) -> AnnotationReport:
    """Check every entry of an annotation file, and that its images exist; return a report.

    Args:
        masks: whether every object needs a segmentation.
        classes: names to use of the file (default: all).
        model_classes: names of the labels (default: `classes`, or those of the file in the order
            of category id). The file may lack some.
        training: False for a file to evaluate on, or to predict on if it has no annotations.

    Raises:
        FileNotFoundError: the file or the folder does not exist.
        ValueError: the file is not in COCO's format.
    """
    coco = read_coco(ann_file, annotated=training)
    if not os.path.isdir(image_folder):
        raise FileNotFoundError(f'{ann_file}: its images: {image_folder} is no folder.\n{LAYOUT}')
    files = str(ann_file), str(image_folder), masks, classes, model_classes, training
    report = AnnotationReport(*files, annotations=len(coco['annotations']))
    _check_categories(report, coco['categories'])
    _check_images(report, coco['images'])
    _check_annotations(report, coco)
    return report


def _entries(report: AnnotationReport, name: str, entries: list) -> Iterator[tuple[str, dict]]:
    """Yield the place of an entry and the entry, for entries with an id of their own."""
    first: dict = {}
    for index, entry in enumerate(entries):
        where = f'{name}[{index}]'
        key = entry.get('id') if isinstance(entry, dict) else None
        if type(key) not in (int, str):
            report.errors.add(where, 'needs an id, which is an integer or a text, got ', entry)
            continue
        where = f'{where} (id {key})'
        if key in first:
            report.errors.add(where, 'has the id of ', f'{name}[{first[key]}]')
            continue
        first[key] = index
        yield where, entry


def _check_categories(report: AnnotationReport, categories: list[dict]) -> None:
    known: dict[str, str] = {}
    for where, category in _entries(report, 'categories', categories):
        name = category['name']
        if name in known:
            report.errors.add(where, 'has the name of ', f"{known[name]}, '{name}'")
        known.setdefault(name, where)
    choose_categories(report, categories)
    ids = list(report.categories)
    if report.model_names == report.names and ids and ids[-1] - ids[0] >= len(ids):
        gaps = f'{len(ids)} classes have ids from {ids[0]} to {ids[-1]}'
        report.notes.add('categories', 'ids have gaps; labels are their order: ', gaps)


def _check_images(report: AnnotationReport, entries: list) -> None:
    @cache  # one listing is faster than thousands of file checks
    def names_in(folder: str) -> frozenset:
        return frozenset(os.listdir(folder)) if os.path.isdir(folder) else frozenset()

    files: dict[str, tuple] = {}
    for where, image in _entries(report, 'images', entries):
        name, sides = image.get('file_name'), (image.get('width'), image.get('height'))
        report.images[image['id']] = None  # known, but wrong
        if not isinstance(name, str) or not name:
            report.errors.add(where, 'has no file_name')
            continue
        path = os.path.join(report.image_folder, name)
        known = all(is_number(side) and side >= 1 for side in sides)
        if not known and report.to_predict:
            sides = _sides_of_file(path)
        elif not known:
            report.errors.add(where, 'needs width and height in pixels, got ', sides)
            continue
        report.images[image['id']] = dict(file_name=name, width=sides[0], height=sides[1])
        folder, base = os.path.split(path)
        if base not in names_in(folder):
            found = f'{path}{_file_advice(report.image_folder, name)}'
            report.errors.add(where, 'there is no file ', found)
        elif path in files:
            report.notes.add(where, 'has the same file as ', files[path][0])
        else:
            files[path] = where, sides
    if len(set(map(type, report.images))) > 1:  # pycocotools sorts them
        report.errors.add('images', 'some ids are integers and some are text; allowed: one type')
    for path in list(files)[:: max(1, len(files) // OPENED)]:
        _check_size(report, path, *files[path])


def _file_advice(folder: str, name: str) -> str:
    """Return what is wrong with the file_name of a missing file, or ''."""
    path = name.replace('\\', '/')
    if path != name and os.path.exists(os.path.join(folder, path)):
        return f'; file_name has backslashes, and the file is {path}; allowed: /'
    base = os.path.basename(path)
    if base != name and os.path.exists(os.path.join(folder, base)):
        return f'; the folder of images has {base}, and file_name must be relative to this folder'
    return ''


def _check_size(report: AnnotationReport, path: str, where: str, sides: tuple[int, int]) -> None:
    """Compare (width, height) in the json with the size of the upright image."""
    try:
        real, turned = upright_size(path)
    except Exception as error:  # decoders of damaged files raise all sorts
        # Training replaces the image, and a test reads all images before it begins.
        report.notes.add(where, 'its file cannot be read: ', f'{path}: {error}')
        return
    if real != sides:
        exif = ' upright, by its EXIF orientation' if turned else ''
        (report.notes if report.to_predict else report.errors).add(
            where,
            'width and height are not those of the file: ',
            f'{sides[0]} x {sides[1]}, but it is {real[0]} x {real[1]}{exif}: {path}',
        )


def _sides_of_file(path: str) -> tuple[int, int]:
    """Return (width, height) of the upright image, or (0, 0) if the file cannot be read."""
    try:
        return upright_size(path)[0]
    except Exception:  # decoders of damaged files raise all sorts; `_check_size` reports them
        return 0, 0


def _check_annotations(report: AnnotationReport, coco: dict) -> None:
    everything = {category['id'] for category in coco['categories']}
    boxes, strangers = CornerBoxes(report), Counter[int]()
    for where, annotation in _entries(report, 'annotations', coco['annotations']):
        image_id, category_id = annotation.get('image_id'), annotation.get('category_id')
        if type(image_id) not in (int, str) or image_id not in report.images:
            report.errors.add(where, 'is on no image of the file, image_id ', repr(image_id))
        elif type(category_id) is not int or category_id not in everything:
            what = 'is of no category of the file, category_id '
            report.errors.add(where, what, repr(category_id))
        elif category_id in report.unknown:
            strangers[category_id] += 1
        elif category_id not in report.categories:
            report.left_out[OTHER_CLASS] += 1
            report.notes.add(where, 'is of a class that the config leaves out')
        elif report.images[image_id] is not None and _take(report, where, annotation):
            boxes.add(annotation)
    add_unknown(report, strangers)
    if add_missing_objects(report):
        return
    add_crowds(report)
    for image_id, image in report.images.items():
        if image and image_id not in report.objects:
            report.notes.add(f'images, id {image_id}', 'has no objects', f', {image["file_name"]}')
    boxes.finish()


def _take(report: AnnotationReport, where: str, annotation: dict) -> bool:
    """Add an annotation to the report; return whether it is used."""
    image = report.images[annotation['image_id']]
    usable = training_object if report.training else evaluation_object
    try:
        one, reason = usable(annotation, image, report.masks)
    except WrongEntry as wrong:
        advice = ''
        if wrong.kind == MISSING_MASK:
            report.left_out[MISSING_MASK] += 1
            advice = f'; boxes only? {boxes_only(report)}'
        report.errors.add(where, wrong.kind, advice or wrong.detail)
        return False
    if reason:
        report.left_out[reason] += 1
    if one is None:
        report.notes.add(where, f'is left out, as {reason}')
        return False
    report.add(one)
    if reason:
        report.notes.add(where, f'has no mask to evaluate, as {reason}')
    if one['iscrowd']:
        report.notes.add(where, CROWD_NOTE[report.training])
    if not has_area(annotation):
        report.notes.add(where, 'has no area, which is computed')
    if not reason and report.masks and len(one['segmentation']) < len(annotation['segmentation']):
        report.notes.add(where, 'loses polygons without three points or a pixel')
    return True
