"""Readers of Labelbox and Lightly through the library labelformat."""

import io
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from lomar.annotations.image_folder import ImageFolder, inside
from lomar.annotations.safe_json import parse_json, read_json
from lomar.annotations.source import (
    ImportReport,
    SourceError,
    SourceImage,
    SourceObject,
    class_name,
    files_in,
    number,
    read_text,
)

KEYS = ('global_key', 'external_id', 'id')
NO_BOX = 'is no box, and is left out: '
INSTALL = "this format needs labelformat: pip install 'lomar-openmmlab[annotations]'"

# Objects that it skips are notes of ours; without a handler, Python prints its warnings.
logging.getLogger('labelformat').addHandler(logging.NullHandler())


class Row:
    """A line of a file in the place of the path that labelformat opens."""

    def __init__(self, text: str):
        self.text = text

    def open(self) -> io.StringIO:
        """Return the line as an open file."""
        return io.StringIO(self.text)


class OneFile:
    """A folder in which labelformat sees one JSON file, so that its errors have a place."""

    def __init__(self, folder: Path, path: Path):
        self.folder, self.path = folder, path

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def rglob(self, _: str) -> list[Path]:
        """Return the file."""
        return [self.path]


def read_labelbox(
    source: Path, folder: ImageFolder, report: ImportReport, key: str = KEYS[0]
) -> Iterator[SourceImage]:
    """Yield the images of a Labelbox export (NDJSON, one image per line).

    Args:
        key: which of `KEYS` has the name of the image file.
    """
    with _installed():
        from labelformat.formats.labelbox import FilenameKeyOption, LabelboxObjectDetectionInput
    for line, text in enumerate(read_text(source).split('\n'), 1):
        where = f'{source}:{line}'
        if not text.strip():
            continue
        with report.collecting(), _located(where):
            row = parse_json(text, str(source), line)
            labels = [one for project in row['projects'].values() for one in project['labels']]
            width, height = (
                number(row['media_attributes'][key], where, key) for key in ('width', 'height')
            )
            file_name = folder.named(row['data_row'].get(key), where)
            image = SourceImage(file_name, where, stated=(width, height))
            if labels:  # labelformat refuses an image without
                names = _names(labels, where, report)
                reader = LabelboxObjectDetectionInput(
                    cast(Path, Row(text)), ','.join(names), FilenameKeyOption(key)
                )
                (label,) = reader.get_labels()
                image.objects = _objects(label.objects, where)
            yield image


def read_lightly(source: Path, folder: ImageFolder, report: ImportReport) -> Iterator[SourceImage]:
    """Yield the images of a folder of Lightly's JSON files with schema.json."""
    with _installed():
        from labelformat.formats import LightlyObjectDetectionInput
        from labelformat.model.image import Image
    for path in files_in(source, '.json'):
        if path.name == 'schema.json':
            continue
        where = str(path)
        with report.collecting(), _located(where):
            inside(source, path.relative_to(source).as_posix(), where)
            name = read_json(path)['file_name']
            image = SourceImage(folder.named(name, where), where)
            reader = LightlyObjectDetectionInput(cast(Path, OneFile(source, path)))
            only = Image(0, name, *folder.size(image.file_name, where))
            vars(reader)['get_images'] = lambda only=only: [only]  # else it opens all images
            (label,) = reader.get_labels()
            image.objects = _objects(label.objects, where)
            yield image


def lightly_classes(source: Path) -> tuple[str, ...]:
    """Return the classes of schema.json, in its order."""
    path = source / 'schema.json'
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist; Lightly writes it beside its JSON files')
    with _located(str(path)):
        return tuple(class_name(one['name'], str(path)) for one in read_json(path)['categories'])


@contextmanager
def _installed() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise ImportError(INSTALL) from error


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Give the errors of labelformat, and those of a key that is missing, their place."""
    with _installed():
        from labelformat.types import ParseError
    try:
        yield
    except SourceError:
        raise
    except (AttributeError, LookupError, ParseError, TypeError, ValueError) as error:
        what = f'{type(error).__name__}: {error.__cause__ or error}'
        raise SourceError(where, 'cannot be read by labelformat: ', what) from error


def _names(labels: list[dict], where: str, report: ImportReport) -> list[str]:
    """Return the classes of boxes, which labelformat asks for."""
    names = set()
    for one in (one for label in labels for one in label['annotations'].get('objects', [])):
        if one['annotation_kind'] == 'ImageBoundingBox':
            names.add(one['name'])
        else:
            report.note(where, NO_BOX, one['annotation_kind'])
    if wrong := [name for name in names if ',' in name]:
        raise SourceError(where, 'a class has a comma, which labelformat cannot read: ', wrong[0])
    return sorted(names)


def _objects(objects: Iterable[Any], where: str) -> list[SourceObject]:
    boxes = ((one.category.name, one.box) for one in objects)
    return [
        SourceObject(class_name(name, where), where, (box.xmin, box.ymin, box.xmax, box.ymax))
        for name, box in boxes
    ]
