"""Checks of COCO annotation files before the first step, each finding with file and entry."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache

from PIL import ExifTags, Image, UnidentifiedImageError

from lomar.datasets.image_io import open_pixels
from lomar.detection.annotation_report import AnnotationReport
from lomar.detection.annotation_rules import WrongEntry, has_area, is_number, training_object
from lomar.detection.category_labels import add_unknown, choose_categories
from lomar.detection.coco import LAYOUT, read_coco

OPENED = 500  # number of evenly spread images whose size is read from the file


def check_coco(
    ann_file: str,
    image_folder: str,
    masks: bool,
    classes: Sequence[str] | None = None,
    model_classes: Sequence[str] | None = None,
) -> AnnotationReport:
    """Check every entry of an annotation file, and that its images exist; return a report.

    Args:
        masks: whether every object needs a segmentation.
        classes: names to use of the file (default: all).
        model_classes: names of the labels (default: `classes`, or those of the file in the order
            of category id). The file may lack some.

    Raises:
        FileNotFoundError: the file or the folder does not exist.
        ValueError: the file is not in COCO's format.
    """
    coco = read_coco(ann_file)
    if not os.path.isdir(image_folder):
        raise FileNotFoundError(f'{ann_file}: its images: {image_folder} is no folder.\n{LAYOUT}')
    report = AnnotationReport(str(ann_file), str(image_folder), masks, classes, model_classes)
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
        if not all(is_number(side) and side >= 1 for side in sides):
            report.errors.add(where, 'needs width and height in pixels, got ', sides)
            continue
        report.images[image['id']] = dict(file_name=name, width=sides[0], height=sides[1])
        path = os.path.join(report.image_folder, name)
        folder, base = os.path.split(path)
        if base not in names_in(folder):
            report.errors.add(where, 'there is no file ', path)
        elif path in files:
            report.notes.add(where, 'has the same file as ', files[path][0])
        else:
            files[path] = where, sides
    if len(set(map(type, report.images))) > 1:  # pycocotools sorts them
        report.errors.add('images', 'some ids are integers and some are text; allowed: one type')
    for path in list(files)[:: max(1, len(files) // OPENED)]:
        _check_size(report, path, *files[path])


def _check_size(report: AnnotationReport, path: str, where: str, sides: tuple[int, int]) -> None:
    """Compare (width, height) in the json with the size of the upright image."""
    try:
        real, turned = _upright_size(path)
    except Exception as error:  # decoders of damaged files raise all sorts
        # Training replaces the image, and a test reads all images before it begins.
        report.notes.add(where, 'its file cannot be read: ', f'{path}: {error}')
        return
    if real != sides:
        exif = ' upright, by its EXIF orientation' if turned else ''
        report.errors.add(
            where,
            'width and height are not those of the file: ',
            f'{sides[0]} x {sides[1]}, but it is {real[0]} x {real[1]}{exif}: {path}',
        )


def _upright_size(path: str) -> tuple[tuple[int, int], bool]:
    """Return (width, height) of the upright image, and whether EXIF swaps the sides."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return (image.size[::-1] if turned else image.size), turned
    except UnidentifiedImageError:  # an array, or a TIFF of many channels
        with open_pixels(path) as file:
            return (file.width, file.height), False


def _check_annotations(report: AnnotationReport, coco: dict) -> None:
    report.annotations = len(coco['annotations'])
    everything = {category['id'] for category in coco['categories']}
    boxes, strangers = Boxes(report), Counter[int]()
    for where, annotation in _entries(report, 'annotations', coco['annotations']):
        image_id, category_id = annotation.get('image_id'), annotation.get('category_id')
        if type(image_id) not in (int, str) or image_id not in report.images:
            report.errors.add(where, 'is on no image of the file, image_id ', image_id)
        elif type(category_id) is not int or category_id not in everything:
            report.errors.add(where, 'is of no category of the file, category_id ', category_id)
        elif category_id in report.unknown:
            strangers[category_id] += 1
        elif category_id not in report.categories:
            report.notes.add(where, 'is of a class that the config leaves out')
        elif report.images[image_id] is not None and _take(report, where, annotation):
            boxes.add(annotation)
    add_unknown(report, strangers)
    instances = report.instances()
    for name, count in instances.items():
        if not count:
            report.notes.add('categories', 'a class has no objects: ', name)
    if not any(instances.values()) and not report.errors.kinds:
        hint = 'no box has a pixel; boxes are [x, y, width, height] in pixels, not fractions'
        report.errors.add('annotations', 'there is nothing to train on: ', hint)
    for image_id, image in report.images.items():
        if image and image_id not in report.objects:
            report.notes.add(f'images, id {image_id}', 'has no objects', f', {image["file_name"]}')
    boxes.finish()


def _take(report: AnnotationReport, where: str, annotation: dict) -> bool:
    """Add an annotation to the report; return whether it is trained on."""
    image = report.images[annotation['image_id']]
    try:
        one, reason = training_object(annotation, image, report.masks)
    except WrongEntry as wrong:
        report.errors.add(where, wrong.kind, wrong.detail)
        return False
    if one is None:
        report.notes.add(where, f'is left out, as {reason}')
        return False
    report.add(one)
    if one['iscrowd']:
        report.notes.add(where, 'is a crowd, which is no object to train on')
    if not has_area(annotation):
        report.notes.add(where, 'has no area, which is computed')
    if report.masks and len(one['segmentation']) < len(annotation['segmentation']):
        report.notes.add(where, 'loses polygons without three points or a pixel')
    return True


class Boxes:
    """Detection of boxes given as [x1, y1, x2, y2] instead of COCO's [x, y, w, h]."""

    def __init__(self, report: AnnotationReport):
        self.report, self.number, self.fits = report, 0, 0
        self.beyond: dict = {}  # by image

    def add(self, annotation: dict) -> None:
        """Add the box of an annotation that is trained on."""
        image = self.report.images[annotation['image_id']]
        width, height, (x, y, w, h) = image['width'], image['height'], annotation['bbox']
        self.number += 1
        self.fits += x < w <= width + 1 and y < h <= height + 1
        if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
            found = f'annotations, id {annotation["id"]}', annotation['bbox']
            self.beyond.setdefault(annotation['image_id'], []).append(found)

    def finish(self) -> None:
        """Add the findings to the report, image by image."""
        beyond = [one for image_id in self.report.objects for one in self.beyond.get(image_id, ())]
        for where, box in beyond:
            self.report.notes.add(where, 'its box reaches out of the image', f', {box}')
        if self.fits == self.number >= 10 and len(beyond) * 10 > self.number:
            self.report.errors.add(
                'annotations',
                'bbox looks like [x, y, x2, y2], should be [x, y, width, height]: ',
                f'as the latter, {len(beyond)} of {self.number} boxes reach out of their images',
            )
