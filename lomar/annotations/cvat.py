"""Reader of "CVAT for images 1.1": one XML file with boxes, polygons and masks of all images."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from lomar.annotations.image_folder import ImageFolder
from lomar.annotations.outlines import corners_of_rotated
from lomar.annotations.safe_xml import place, read_xml
from lomar.annotations.source import (
    ImportReport,
    SourceError,
    SourceImage,
    SourceObject,
    class_name,
    flag,
    number,
)
from lomar.detection.run_lengths import placed_rle

NO_OUTLINE = 'is no outline of an object, and is left out: '
CORNERS = ('xtl', 'ytl', 'xbr', 'ybr')


class CvatFile:
    """The file annotations.xml: its root, and its classes in the order of CVAT.

    Attributes:
        names: classes; () if the file does not list them.

    Raises:
        SourceError: the file is malformed, or is of another kind.
    """

    def __init__(self, path: Path):
        self.root = read_xml(path)
        if self.root.tag != 'annotations':
            what = 'is no file of "CVAT for images 1.1", the root is '
            raise SourceError(place(self.root), what, f'<{self.root.tag}>')
        if (track := self.root.find('track')) is not None:
            raise SourceError(place(track), 'is a video; export as "CVAT for images 1.1"')
        labels = self.root.iterfind('meta//labels/label/name')
        self.names = tuple(dict.fromkeys(class_name(one.text, place(one)) for one in labels))


def read_cvat(file: CvatFile, folder: ImageFolder, report: ImportReport) -> Iterator[SourceImage]:
    """Yield the images of the file. Coordinates count from 0; a rotated box becomes a polygon."""
    for node in file.root.findall('image'):
        with report.collecting():
            where = place(node)
            name = folder.named(node.get('name'), where)
            width, height = (number(node.get(key), where, key) for key in ('width', 'height'))
            image = SourceImage(name, where, stated=(width, height))
            size = folder.size(name, where)
            for shape in node:
                with report.collecting():
                    if one := _object(shape, size, report):
                        image.objects.append(one)
            yield image


def _object(node: Element, size: tuple[int, int], report: ImportReport) -> SourceObject | None:
    where = place(node)
    if node.tag not in ('box', 'polygon', 'mask'):
        report.note(where, NO_OUTLINE, f'<{node.tag}>')
        return None
    occluded = flag(node.get('occluded', ''), where, 'occluded')
    flags = frozenset({'occluded'} if occluded else ())
    one = SourceObject(class_name(node.get('label'), where), where, flags=flags)
    if node.tag == 'polygon':
        one.polygons = [_points(node.get('points', ''), where)]
    elif node.tag == 'mask':
        one.rle = _mask(node, size)
    else:
        left, top, right, bottom = (number(node.get(key), where, key) for key in CORNERS)
        if right < left or bottom < top:
            corners = (left, top, right, bottom)
            raise SourceError(where, 'xbr or ybr is less than xtl or ytl: ', corners)
        if angle := number(node.get('rotation', 0), where, 'rotation') % 360:
            one.polygons = [corners_of_rotated(left, top, right, bottom, angle)]
        else:
            one.box = (left, top, right, bottom)
    return one


def _points(text: str, where: str) -> list[float]:
    pairs = [point.split(',') for point in text.split(';') if point.strip()]
    if len(pairs) < 3 or any(len(pair) != 2 for pair in pairs):
        raise SourceError(where, 'a polygon needs 3 or more points "x,y;x,y;...", got ', text)
    return [number(value, where, 'a coordinate') for pair in pairs for value in pair]


def _mask(node: Element, size: tuple[int, int]) -> dict:
    """Return a mask whose run lengths cover a part of the image, row by row."""
    where, keys = place(node), ('left', 'top', 'width', 'height')
    left, top, width, height = (int(number(node.get(key), where, key)) for key in keys)
    runs = [int(number(word, where, 'a run')) for word in node.get('rle', '').split(',')]
    fits = 0 <= left < left + width <= size[0] and 0 <= top < top + height <= size[1]
    if not fits or min(runs) < 0 or sum(runs) != width * height:
        what = f'{sum(runs)} pixels in runs, part of {width} x {height} from {left}, {top}'
        raise SourceError(where, 'the mask does not fit its part or the image: ', what)
    part = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(height, width)
    return placed_rle(part, top, left, size[1], size[0])
