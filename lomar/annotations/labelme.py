"""Reader of LabelMe: one JSON file with shapes per image."""

import base64
import io
import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from PIL import Image

from lomar.annotations.image_folder import ImageFolder, inside
from lomar.annotations.outlines import circle
from lomar.annotations.safe_json import read_json
from lomar.annotations.source import (
    ImportReport,
    SourceError,
    SourceImage,
    SourceObject,
    class_name,
    files_in,
    number,
)
from lomar.detection.run_lengths import placed_rle

NO_OUTLINE = 'is no outline of an object, and is left out: '
POINTS = dict(rectangle=2, circle=2, mask=2)  # a polygon has 3 or more


def read_labelme(source: Path, folder: ImageFolder, report: ImportReport) -> Iterator[SourceImage]:
    """Yield the images of JSON files. Coordinates are from 0.

    An `imagePath` with folders is relative to the JSON file. A name alone is that of a file in the
    folder of images, in the same sub-folder as the JSON file.
    Polygons of one class and `group_id` in an image are one object. A circle becomes a polygon.
    """
    for path in files_in(source, '.json'):
        with report.collecting():
            inside(source, path.relative_to(source).as_posix(), str(path))
            content = read_json(path)
            if not isinstance(content, dict) or not isinstance(content.get('shapes'), list):
                raise SourceError(str(path), "is no file of LabelMe, it has no list 'shapes'")
            name = content.get('imagePath')
            name = name.replace('\\', '/') if isinstance(name, str) else name
            beside = folder.root / path.parent.relative_to(source)
            file_name = folder.named(name, str(path), path.parent if '/' in str(name) else beside)
            size = folder.size(file_name, str(path))
            image = SourceImage(file_name, str(path), stated=_stated(content, str(path)))
            for index, shape in enumerate(content['shapes']):
                with report.collecting():
                    _add(image, shape, f'{path}: shapes[{index}]', size, report)
            yield image


def _stated(content: dict, where: str) -> tuple[float, float] | None:
    width, height = content.get('imageWidth'), content.get('imageHeight')
    if width is None or height is None:
        return None
    return number(width, where, 'imageWidth'), number(height, where, 'imageHeight')


def _add(
    image: SourceImage, shape: object, where: str, size: tuple[int, int], report: ImportReport
) -> None:
    """Add the object of a shape, or its polygon to the object of its group."""
    if not isinstance(shape, dict):
        raise SourceError(where, 'is no shape, got ', type(shape).__name__)
    kind = shape.get('shape_type') or 'polygon'
    if not isinstance(kind, str):
        raise SourceError(where, 'shape_type is no word, got ', repr(kind))
    if kind != 'polygon' and kind not in POINTS:
        report.note(where, NO_OUTLINE, kind)
        return
    name, points = class_name(shape.get('label'), where), _points(shape, kind, where)
    group = shape.get('group_id')
    one = SourceObject(name, where, group=None if group is None else repr(group))
    if kind == 'rectangle':
        (left, right), (top, bottom) = (sorted(axis) for axis in zip(*points, strict=True))
        one.box = (left, top, right, bottom)
    elif kind == 'mask':
        one.rle = _mask(shape, points[0], where, size)
    elif kind == 'circle':
        one.polygons = [circle(*points[0], radius=math.dist(*points))]
    else:
        one.polygons = [list(chain.from_iterable(points))]
        for other in image.objects:
            if other.polygons and one.group and (other.name, other.group) == (name, one.group):
                other.polygons += one.polygons
                return
    image.objects.append(one)


def _points(shape: dict, kind: str, where: str) -> list[tuple[float, float]]:
    points = shape.get('points')
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise SourceError(where, 'points must be a list of [x, y], got ', type(points).__name__)
    if (kind == 'polygon' and len(points) < 3) or len(points) != POINTS.get(kind, len(points)):
        needed = POINTS.get(kind, '3 or more')
        raise SourceError(where, f'a {kind} has {needed} points, got ', len(points))
    x, y = ([number(point[axis], where, 'a coordinate') for point in points] for axis in (0, 1))
    return list(zip(x, y, strict=True))


def _mask(shape: dict, corner: tuple[float, float], where: str, size: tuple[int, int]) -> dict:
    """Return the mask in a PNG inside of the JSON; its left upper corner is the first point."""
    try:
        content = base64.b64decode(shape.get('mask') or '', validate=True)
        with Image.open(io.BytesIO(content), formats=['PNG']) as png:
            part = np.asarray(png.convert('L')) > 0
    except Exception as error:  # decoders of damaged files raise all sorts
        raise SourceError(where, 'the mask is no PNG in base64: ', error) from None
    left, top = map(round, corner)
    if not (0 <= left <= size[0] - part.shape[1] and 0 <= top <= size[1] - part.shape[0]):
        what = f'{part.shape[1]} x {part.shape[0]} pixels from {left}, {top}'
        raise SourceError(where, 'the mask reaches out of the image: ', what)
    return placed_rle(part, top, left, size[1], size[0])
