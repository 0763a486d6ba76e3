"""Annotations as their readers yield them, and the errors of a source with file and line."""

import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lomar.datasets.folder_walk import is_system
from lomar.detection.annotation_report import Findings
from lomar.detection.coco import short

ERRORS = 50  # of each kind, that a message names
WORDS = {'0': False, 'false': False, 'no': False, 'unspecified': False, '': False} | dict.fromkeys(
    ('1', 'true', 'yes'), True
)


class SourceError(ValueError):
    """Error for a place in a source; `kind` is the same for all errors of this kind."""

    def __init__(self, where: str, kind: str, detail: object = ''):
        super().__init__(where, kind, detail)
        self.where, self.kind, self.detail = where, kind, detail

    def __str__(self) -> str:
        """Return the message in one line."""
        return f'{self.where}: {self.kind}{short(one_line(self.detail))}'


@dataclass
class SourceObject:
    """One object of a source.

    Attributes:
        name: class.
        where: file and line, for messages.
        box: corners (x1, y1, x2, y2) in pixels, with 0 at the left and upper edge of the image; for
            an object with polygons or a mask, None.
        polygons: lists [x, y, ...] in the same coordinates.
        rle: the mask as compressed RLE with the size of the image.
        group: shapes of one group are one object, in formats that have groups.
        flags: of 'difficult', 'truncated' and 'occluded', those that the source sets.
    """

    name: str
    where: str
    box: tuple[float, float, float, float] | None = None
    polygons: list[list[float]] = field(default_factory=list)
    rle: dict | None = None
    group: str | None = None
    flags: frozenset[str] = frozenset()


@dataclass
class SourceImage:
    """An annotated image: its name below the image folder, and what the source says of it.

    Attributes:
        where: file and line, for messages.
        stated: (width, height) in the source, which need not be right; None = not stated.
    """

    file_name: str
    where: str
    objects: list[SourceObject] = field(default_factory=list)
    stated: tuple[float, float] | None = None


class ImportReport:
    """Findings of an import: errors, and notes on what was changed or left out."""

    def __init__(self) -> None:
        self.errors, self.notes = Findings(examples=ERRORS), Findings()

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Add a `SourceError` of the block to the errors; what the block reads is left out."""
        try:
            yield
        except SourceError as error:
            self.errors.add(error.where, error.kind, one_line(error.detail))

    def note(self, where: str, kind: str, detail: object = '') -> None:
        """Add what was changed or left out."""
        self.notes.add(where, kind, one_line(detail))

    def note_lines(self) -> list[str]:
        """Return a line with the number of entries for each kind of note, and the first entries."""
        lines: list[str] = []
        for kind, (count, examples) in self.notes.kinds.items():
            lines += [f'{count} x {kind.rstrip(" :,")}', *(f'  {each}' for each in examples)]
        return lines


def files_in(folder: Path, suffix: str) -> list[Path]:
    """Return the sorted files below a folder with a suffix in lower or upper case.

    As for images, hidden files and those of operating systems do not count.
    """
    return sorted(
        path
        for path in folder.rglob('*')
        if path.suffix.lower() == suffix
        and not any(map(is_system, path.relative_to(folder).parts))
        and not path.is_dir()
    )


def folder_above(folder: Path) -> Path:
    """Return the folder that contains a folder, also that of `.`."""
    return Path(os.path.normpath(folder / os.pardir))


def read_text(path: Path) -> str:
    """Return the text of a file in UTF-8; a SourceError names the line that is not."""
    content = path.read_bytes()
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b'\n') + 1
        raise SourceError(f'{path}:{line}', 'is no text in UTF-8: ', error.reason) from None


def class_name(text: object, where: str) -> str:
    """Return the name of a class without spaces around it; a SourceError without one."""
    name = ' '.join(text.split()) if isinstance(text, str) else ''
    if not name:
        raise SourceError(where, 'the object has no class name, got ', repr(text))
    return name


def number(text: object, where: str, what: str) -> float:
    """Return a finite number from a text or number; a SourceError names `what` it is."""
    try:
        value = float(text) if isinstance(text, str | int | float) else float('nan')
    except (ValueError, OverflowError):
        value = float('nan')
    if isinstance(text, bool) or not -1e15 < value < 1e15:
        raise SourceError(where, f'{what} is no number, got ', repr(text))
    return value


def flag(text: str, where: str, what: str) -> bool:
    """Return whether a word, in any case, sets a flag; an empty text does not."""
    found = WORDS.get(text.strip().lower())
    if found is None:
        allowed = ', '.join(filter(None, WORDS))
        raise SourceError(where, f'{what} is no flag; allowed: {allowed}; got ', repr(text))
    return found


def is_known(key: object, known: Container) -> bool:
    """Return whether a value of a JSON file is an id, and one of those that are known."""
    return type(key) in (int, str) and key in known


def check_unique(path: str | Path, coco: dict) -> None:
    """Raise a ValueError if two images or categories of a COCO file have one id or name."""
    kinds = (('images', 'id', 'image'), ('categories', 'id', 'category'))
    for entries, key, kind in (*kinds, ('categories', 'name', 'category')):
        known: set[object] = set()
        for index, entry in enumerate(coco[entries]):
            value = entry.get(key) if isinstance(entry, dict) else None
            if is_known(value, known):
                raise ValueError(
                    f'{path}: {entries}[{index}] has the {key} {one_line(value)} of another '
                    f'{kind}; see lomar check'
                )
            if type(value) in (int, str):
                known.add(value)


def one_line(text: object) -> str:
    """Return a text in which characters such as newlines are written as escapes."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))
