"""Reader of KITTI: one text file with a line per object for each image."""

from collections.abc import Iterator
from pathlib import Path

from lomar.annotations.image_folder import ImageFolder, inside
from lomar.annotations.source import (
    ImportReport,
    SourceError,
    SourceImage,
    SourceObject,
    class_name,
    files_in,
    folder_above,
    number,
    read_text,
)

VALUES = 14  # after the class: truncated, occluded, alpha, 4 corners, 3 sides, 3 places, rotation
IGNORED = 'a DontCare region has no class, and is left out'


def image_folder(source: Path) -> Path:
    """Return image_2 or images beside the folder of the text files, or that folder."""
    for folder in (folder_above(source) / 'image_2', folder_above(source) / 'images'):
        if folder.is_dir():
            return folder
    return source


def read_kitti(source: Path, folder: ImageFolder, report: ImportReport) -> Iterator[SourceImage]:
    """Yield the images that have a text file; corners are coordinates in pixels from 0."""
    for path in files_in(source, '.txt'):
        name = path.relative_to(source)
        with report.collecting():
            inside(source, name.as_posix(), str(path))
            image = SourceImage(
                folder.with_stem(name.with_suffix('').as_posix(), str(path)), str(path)
            )
            for line, text in enumerate(read_text(path).split('\n'), 1):
                with report.collecting():
                    if one := _object(text, f'{path}:{line}', report):
                        image.objects.append(one)
            yield image


def _object(text: str, where: str, report: ImportReport) -> SourceObject | None:
    words = text.split()
    if not words:
        return None
    if len(words) <= VALUES:
        raise SourceError(where, f'has {len(words)} words; allowed: a class and {VALUES} numbers')
    name = class_name(' '.join(words[:-VALUES]), where)  # names may have spaces, as in labelformat
    truncated, occluded, _, left, top, right, bottom, *_ = (
        number(word, where, 'a value') for word in words[-VALUES:]
    )
    if name == 'DontCare':
        report.note(where, IGNORED)
        return None
    if right < left or bottom < top:
        corners = (left, top, right, bottom)
        raise SourceError(where, 'right or bottom is less than left or top: ', corners)
    known = dict(truncated=truncated > 0, occluded=occluded > 0)
    flags = frozenset(flag for flag, given in known.items() if given)
    return SourceObject(name, where, (left, top, right, bottom), flags=flags)
