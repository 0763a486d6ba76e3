"""Reader of Pascal VOC: one XML file with boxes per image."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from lomar.annotations.image_folder import MISSING, ImageFolder, inside
from lomar.annotations.safe_xml import place, read_xml, text_of
from lomar.annotations.source import (
    ImportReport,
    SourceError,
    SourceImage,
    SourceObject,
    class_name,
    files_in,
    flag,
    folder_above,
    number,
    read_text,
)

LAST_WORD = re.compile(r'\s+\S+$')
NUMBER = re.compile(r'-?\d+(\.\d+)?', re.ASCII)
CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
FLAGS = ('difficult', 'truncated', 'occluded')
ONE_PIXEL = 'the box is one pixel wide or high, and kept: '
FROM_ZERO = 'a corner is less than 1, as if pixels counted from 0 (--first-pixel 0): '


def image_folder(source: Path) -> Path:
    """Return JPEGImages of a VOC folder or beside Annotations, else the folder of the XML files."""
    for folder in (source / 'JPEGImages', folder_above(source) / 'JPEGImages'):
        if folder.is_dir():
            return folder
    return source


def read_voc(
    source: Path,
    folder: ImageFolder,
    report: ImportReport,
    first_pixel: int = 1,
    split: str | None = None,
    pair_by_stem: bool = False,
) -> Iterator[SourceImage]:
    """Yield the images of a folder of XML files, or of a VOC folder with `Annotations`.

    Args:
        first_pixel: 1 for VOC's convention: corners are the first and the last pixel of the box,
            which count from 1. 0 for corners that are coordinates from 0; labelformat reads
            all files this way.
        split: read the files that ImageSets/Main/SPLIT.txt names.
        pair_by_stem: the image has the name of the XML file; `<filename>` is ignored.
    """
    annotations = source / 'Annotations' if (source / 'Annotations').is_dir() else source
    for path in _files(annotations, report, split):
        with report.collecting():
            yield _image(path, annotations, folder, report, first_pixel, pair_by_stem)


def _files(annotations: Path, report: ImportReport, split: str | None) -> Iterator[Path]:
    files = files_in(annotations, '.xml')
    if split is None:
        yield from files
        return
    by_name = {os.path.normpath(path.with_suffix('')): path for path in files}
    listed = folder_above(annotations) / 'ImageSets' / 'Main' / f'{split}.txt'
    if '/' in split or not listed.is_file():
        names = sorted(one.stem for one in listed.parent.glob('*.txt'))
        raise ValueError(
            f'--split {split}: {listed} does not exist; allowed: {", ".join(names) or "none"}'
        )
    for line, text in enumerate(read_text(listed).splitlines(), 1):
        if not text.strip():
            continue
        with report.collecting():
            where, name = f'{listed}:{line}', text.strip()
            # The list of a class has 1 or -1 after the name.
            paths = [inside(annotations, one, where) for one in (name, LAST_WORD.sub('', name))]
            found = [by_name[str(path)] for path in paths if str(path) in by_name]
            if not found:
                raise SourceError(where, 'there is no annotation ', f'{paths[0]}.xml')
            yield found[0]


def _image(
    path: Path,
    annotations: Path,
    folder: ImageFolder,
    report: ImportReport,
    first_pixel: int,
    pair_by_stem: bool,
) -> SourceImage:
    inside(annotations, path.relative_to(annotations).as_posix(), str(path))
    root = read_xml(path)
    if root.tag != 'annotation':
        raise SourceError(place(root), 'is no VOC annotation, the root is ', f'<{root.tag}>')
    name = text_of(root, 'filename', needed=not pair_by_stem)
    stem = path.relative_to(annotations).with_suffix('').as_posix()
    if pair_by_stem:
        file_name = folder.with_stem(stem, place(root))
    else:
        base = folder.root / path.parent.relative_to(annotations)
        try:
            file_name = folder.named(name, place(root), base)
        except SourceError as error:
            if folder.has_stem(stem) and error.kind == MISSING:
                error.detail = f'{error.detail}; --pair-by-stem takes the name of the XML file'
            raise
    image = SourceImage(file_name, place(root), stated=_size(root))
    for node in root.findall('object'):
        with report.collecting():
            image.objects.append(_object(node, report, first_pixel))
    return image


def _size(root: Element) -> tuple[float, float] | None:
    size = root.find('size')
    if size is None:
        return None
    width, height = (number(text_of(size, key), place(size), key) for key in ('width', 'height'))
    return (width, height) if width and height else None  # 0: the tool did not know


def _object(node: Element, report: ImportReport, first_pixel: int) -> SourceObject:
    where = place(node)
    name = class_name(text_of(node, 'name'), where)
    values = [number(text_of(node, f'bndbox/{key}'), where, key) for key in CORNERS]
    left, top, right, bottom = values
    if right < left or bottom < top:
        raise SourceError(where, 'xmax or ymax is less than xmin or ymin: ', values)
    if max(values) <= 1 and not all(value.is_integer() for value in values):
        raise SourceError(where, 'corners are in fractions of the image, not in pixels: ', values)
    if first_pixel and min(left, top) < 1:
        report.note(where, FROM_ZERO, values)
    if first_pixel and (left == right or top == bottom):
        report.note(where, ONE_PIXEL, values)
    flags = {key for key in FLAGS if _flag(text_of(node, key, needed=False), where, key)}
    if (polygon := node.find('polygon')) is not None:  # of Roboflow; its numbers are coordinates
        return SourceObject(name, where, None, [_polygon(polygon)], flags=frozenset(flags))
    box = (left - first_pixel, top - first_pixel, right, bottom)
    return SourceObject(name, where, box, flags=frozenset(flags))


def _flag(text: str, where: str, key: str) -> bool:
    """Return whether a flag is set; files that were KITTI's have numbers, such as the part."""
    if key != 'difficult' and NUMBER.fullmatch(text):
        return float(text) > 0
    return flag(text, where, key)


def _polygon(node: Element) -> list[float]:
    """Return [x, y, ...] of the elements x1, y1, x2, y2, ..."""
    keys = [f'{axis}{point}' for point in range(1, len(node) // 2 + 1) for axis in 'xy']
    return [number(text_of(node, key), place(node), key) for key in keys]
