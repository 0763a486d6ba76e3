"""Checks of COCO annotation files before the first step, each finding with file and entry."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from PIL import Image, UnidentifiedImageError

from lomar.datasets.image_io import open_pixels
from lomar.detection.coco import (
    LAYOUT,
    WrongEntry,
    class_names,
    clean,
    is_number,
    read_coco,
    short,
)

EXAMPLES = 3  # of each kind of finding
OPENED = 500  # images, evenly spread, of which the real size is read
EXIF_ORIENTATION = 0x0112


class Findings:
    """What was found in a file: of each kind the first entries, and how many more there are."""

    def __init__(self, file: str):
        self.file, self.kinds = file, {}

    def add(self, where: str, kind: str, detail: object = '') -> None:
        """Note that the entry `where` is of a kind; the detail may differ between entries."""
        examples = self.kinds.setdefault(kind, [0, []])
        examples[0] += 1
        if examples[0] <= EXAMPLES:
            examples[1].append(f'{self.file}: {where}: {kind}{short(detail)}')

    def lines(self) -> list[str]:
        """One line an example, and one for the rest of its kind."""
        lines = []
        for kind, (count, examples) in self.kinds.items():
            lines += examples
            if count > EXAMPLES:
                lines.append(f'{self.file}: and {count - EXAMPLES} more: {kind}')
        return lines


@dataclass
class AnnotationReport:
    """What `check_coco` found, and what there is to train on.

    `categories` has the name of each category id, in the order of the labels; `images` an entry
    of the file by image id, and `objects` a list of annotations as `normalised_coco` returns them.
    """

    ann_file: str
    image_folder: str
    annotations: int
    categories: dict[int, str] = field(default_factory=dict)
    images: dict = field(default_factory=dict)
    objects: dict = field(default_factory=dict)

    def __post_init__(self):
        self.errors, self.notes = Findings(self.ann_file), Findings(self.ann_file)

    def instances(self) -> dict[str, int]:
        """How many objects of each class there are, without ignored regions."""
        every = (one for objects in self.objects.values() for one in objects)
        found = Counter(one['category_id'] for one in every if not one['iscrowd'])
        return {name: found[key] for key, name in self.categories.items()}


def check_coco(
    ann_file: str, image_folder: str, masks: bool, classes: Sequence[str] | None = None
) -> AnnotationReport:
    """Look at every entry of an annotation file, and whether its images are there.

    Args:
        masks: whether a segmentation is needed.
        classes: names to train on (default: all), in the order of category id.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: the file is not in COCO's format at all.
    """
    coco = read_coco(ann_file)
    if not os.path.isdir(image_folder):
        raise FileNotFoundError(f'{ann_file}: its images: {image_folder} is no folder.\n{LAYOUT}')
    report = AnnotationReport(str(ann_file), str(image_folder), len(coco['annotations']))
    _check_categories(report, coco, classes)
    _check_images(report, coco['images'])
    _check_annotations(report, coco, masks)
    _check_corners(report)
    return report


def stop_on_errors(reports: Iterable[AnnotationReport]) -> None:
    """Raise one ValueError with all errors of all reports, if there is one."""
    lines = [line for report in reports for line in report.errors.lines()]
    if lines:
        raise ValueError('\n'.join(('The annotations cannot be trained on:', *lines)))


def _entries(report: AnnotationReport, name: str, entries: list) -> Iterator[tuple[str, dict]]:
    """Yield how to call an entry, and the entry, if it has an id of its own."""
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


def _check_categories(report: AnnotationReport, coco: dict, wanted: Sequence[str] | None) -> None:
    known: dict[str, str] = {}
    for where, category in _entries(report, 'categories', coco['categories']):
        name = category['name']
        if name in known:
            report.errors.add(where, 'has the name of ', f"{known[name]}, '{name}'")
        known.setdefault(name, where)
    names = class_names(coco)
    if isinstance(wanted, str):
        report.errors.add('metainfo', 'classes must be a list of names, got the text ', wanted)
        wanted = None
    chosen = names if wanted is None else tuple(wanted)
    missing = [name for name in chosen if name not in names]
    if missing:
        report.errors.add(
            'categories', 'classes of the config are missing: ', f'{missing}; there are {names}'
        )
    elif chosen != tuple(name for name in names if name in chosen):
        # Evaluation takes labels for categories in the order of their ids.
        report.errors.add(
            'categories', 'the config names the classes in another order than ', f'{names}'
        )
    report.categories = {
        one['id']: one['name']
        for one in sorted(coco['categories'], key=lambda one: one['id'])
        if one['name'] in chosen
    }
    ids = list(report.categories)
    if wanted is None and ids and ids[-1] - ids[0] >= len(ids):
        gaps = f'{len(ids)} classes have ids from {ids[0]} to {ids[-1]}'
        report.notes.add('categories', 'ids have gaps; labels are their order: ', gaps)


def _check_images(report: AnnotationReport, entries: list) -> None:
    @cache  # one listing is faster than asking for thousands of files
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
        report.images[image['id']] = image
        path = os.path.join(report.image_folder, name)
        folder, base = os.path.split(path)
        if base not in names_in(folder):
            report.errors.add(where, 'there is no file ', path)
        elif path in files:
            report.notes.add(where, 'has the same file as ', files[path][0])
        else:
            files[path] = where, sides
    for path in list(files)[:: max(1, len(files) // OPENED)]:
        _check_size(report, path, *files[path])


def _check_size(report: AnnotationReport, path: str, where: str, sides: tuple[int, int]) -> None:
    """Compare the json's (width, height) with the upright image's, on which boxes are drawn."""
    try:
        real, turned = _upright_size(path)
    except Exception as error:  # decoders of damaged files raise all sorts
        report.errors.add(where, 'its file cannot be read: ', f'{path}: {error}')
        return
    if real != sides:
        exif = ' upright, by its EXIF orientation' if turned else ''
        report.errors.add(
            where,
            'width and height are not those of the file: ',
            f'{sides[0]} x {sides[1]}, but it is {real[0]} x {real[1]}{exif}: {path}',
        )


def _upright_size(path: str) -> tuple[tuple[int, int], bool]:
    """(width, height), and whether they are turned by EXIF."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(EXIF_ORIENTATION) in (5, 6, 7, 8)
            return (image.size[::-1] if turned else image.size), turned
    except UnidentifiedImageError:  # an array, or a TIFF of many channels
        with open_pixels(path) as file:
            return (file.width, file.height), False


def _check_annotations(report: AnnotationReport, coco: dict, masks: bool) -> None:
    everything = {category['id'] for category in coco['categories']}
    for where, annotation in _entries(report, 'annotations', coco['annotations']):
        image_id, category_id = annotation.get('image_id'), annotation.get('category_id')
        if type(image_id) not in (int, str) or image_id not in report.images:
            report.errors.add(where, 'is on no image of the file, image_id ', image_id)
        elif type(category_id) is not int or category_id not in everything:
            report.errors.add(where, 'is of no category of the file, category_id ', category_id)
        elif category_id not in report.categories:
            report.notes.add(where, 'is of a class that the config leaves out')
        elif report.images[image_id] is not None:
            _take(report, where, annotation, masks)
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


def _take(report: AnnotationReport, where: str, annotation: dict, masks: bool) -> None:
    try:
        cleaned, reason = clean(annotation, report.images[annotation['image_id']], masks)
    except WrongEntry as wrong:
        report.errors.add(where, wrong.kind, wrong.detail)
        return
    if cleaned is None:
        report.notes.add(where, f'is left out, as {reason}')
        return
    report.objects.setdefault(annotation['image_id'], []).append(cleaned)
    if cleaned['iscrowd']:
        report.notes.add(where, 'is a crowd, which is no object to train on')
    if cleaned['area'] != annotation.get('area'):
        report.notes.add(where, 'has no area, which is computed')
    if masks and len(cleaned['segmentation']) < len(annotation['segmentation']):
        report.notes.add(where, 'loses polygons without three points or a pixel')


def _check_corners(report: AnnotationReport) -> None:
    """Tell boxes [x, y, x2, y2], on which training would run and learn nothing."""
    fits, beyond, number = 0, 0, 0
    for image_id, objects in report.objects.items():
        width, height = report.images[image_id]['width'], report.images[image_id]['height']
        for one in objects:
            x, y, w, h = one['bbox']
            number += 1
            fits += x < w <= width + 1 and y < h <= height + 1
            if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
                beyond += 1
                where = f'annotations, id {one["id"]}'
                report.notes.add(where, 'its box reaches out of the image', f', {one["bbox"]}')
    if fits == number >= 10 and beyond * 10 > number:
        report.errors.add(
            'annotations',
            'bbox looks like [x, y, x2, y2], should be [x, y, width, height]: ',
            f'as the latter, {beyond} of {number} boxes reach out of their images',
        )
