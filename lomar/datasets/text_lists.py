"""Text lists of image paths: reading, with line numbers in every error, and writing."""

import codecs
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

EXAMPLES = 5  # lines that an error names
BLOCK = 65536  # bytes by which a text is told from other files
# First bytes of files that are no text lists, and what the files are.
KINDS = {
    b'\xff\xd8\xff': 'a JPEG image',
    b'\x89PNG': 'a PNG image',
    b'II*\0': 'a TIFF image',
    b'MM\0*': 'a TIFF image',
    b'RIFF': 'a WebP image',
    b'BM': 'a BMP image',
    b'\x93NUMPY': 'a NumPy array',
    b'PK': 'a zip archive',
    b'\x1f\x8b': 'a gzip archive',
    b'PAR1': 'a Parquet file',
    b'%PDF': 'a PDF document',
}
LIST = """\
A list is text in UTF-8, or in UTF-16 with a byte order mark. Lines end with \\n or \\r\\n. Empty
lines and lines that begin with # are skipped. Paths are absolute or relative to the list's folder.
Spaces are part of a path; quotes and commas have no meaning."""


class Line(NamedTuple):
    """A line of a list: its number from 1, and its text without the spaces around it."""

    number: int
    text: str


def read_lines(file: Path, form: str) -> list[Line]:
    """Return the lines of a text list that are neither empty nor comments.

    Names of files may be in any encoding. Only newlines end a line: names may have the characters
    at which `str.splitlines` also cuts.

    Args:
        form: what a line must be, for errors.

    Raises:
        ValueError: the file is no text, has old line ends, or a comment names a file.
    """
    lines = []
    for number, line in enumerate(_text(file, form).split('\n'), 1):
        text = line.strip(' \t\r')
        if '\r' in text:
            raise list_error(file, [(number, f'{_cut(text)} has a carriage return')], form)
        if text.startswith('#'):
            parts = _beginnings(text)
            named = next((part for part in parts if _is_file(file.parent, part)), '')
            if named:
                what = f'{named} is a file, but # begins a comment; write ./{named}'
                raise list_error(file, [(number, what)], form)
        elif text:
            lines.append(Line(number, text))
    return lines


def existing(file: Path, lines: Sequence[Line], form: str) -> list[str]:
    """Return the paths of the images that the lines of a list name.

    Raises:
        ValueError: files do not exist; the error has their number and the first lines.
    """
    listed: dict[str, frozenset[str]] = {}  # by folder: faster than a check of each file
    paths, missing = [], []
    for line in lines:
        path = str(file.parent / line.text)
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = _files_in(folder)
        # Names in the file system may be written otherwise, for example in other case.
        if name not in listed[folder] and not os.path.isfile(path):
            missing.append(line)
        paths.append(path)
    if missing:
        found = [
            (number, f'there is no file {_cut(file.parent / name)}{_hint(file.parent, name)}')
            for number, name in missing[:EXAMPLES]
        ]
        raise list_error(file, found, form, len(missing), len(lines))
    return paths


def list_error(
    file: Path, found: Iterable[tuple[int, str]], form: str, wrong: int = 1, lines: int = 0
) -> ValueError:
    """Return the error for a list, which names the lines (number, text) and the allowed form."""
    named = '\n'.join(f'  line {number}: {_printable(text)}' for number, text in found)
    count = f'{wrong} of {lines} lines' if lines else 'a line'
    return ValueError(f'{file}: {count} of the list cannot be used:\n{named}\n{form}\n{LIST}')


def is_list(path: str | Path) -> bool:
    """Return whether a file without the suffix of an image is a text."""
    with open(path, 'rb') as opened:
        start = opened.read(BLOCK)
    return start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b'\0' not in start


def write_list(file: str | Path, paths: Iterable[str]) -> None:
    """Write a list that `read_lines` reads, names in any encoding included; see `check_lines`."""
    texts = list(paths)
    check_lines(texts)
    Path(file).write_bytes(b''.join(os.fsencode(path) + b'\n' for path in texts))


def check_lines(paths: Iterable[str]) -> None:
    """Raise a ValueError for a path that cannot be a line of a list."""
    for path in paths:
        if '\n' in path or '\r' in path or path != path.strip(' \t') or path.startswith('#'):
            raise ValueError(
                f'{path!r} cannot be a line of a list: it has a newline, a space at an end, or # '
                'at the start; rename the file'
            )


def _text(file: Path, form: str) -> str:
    """Return the text of a list; raise a ValueError for any other kind of file."""
    with open(file, 'rb') as opened:
        start = opened.read(BLOCK)
        utf16 = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        kind = next((what for magic, what in KINDS.items() if start.startswith(magic)), '')
        if b'\0' in start and not utf16:
            raise ValueError(f'{file} is {kind or "no text"}, not a list.\n{form}\n{LIST}')
        content = start + opened.read()
    try:
        text = content.decode(*(('utf-16',) if utf16 else ('utf-8-sig', 'surrogateescape')))
    except UnicodeDecodeError as error:
        raise ValueError(f'{file}: {error}.\n{form}\n{LIST}') from error
    if '\0' in text:
        raise ValueError(f'{file} has NUL bytes and is no text.\n{form}\n{LIST}')
    return text


def _files_in(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(e.name for e in entries if not e.is_dir(follow_symlinks=False))
    except OSError:  # the check of each file decides
        return frozenset()


def _is_file(folder: Path, name: str) -> bool:
    return bool(name) and os.path.isfile(folder / name)  # False for names that are too long


def _beginnings(text: str) -> list[str]:
    """Return a line without the fields that may follow a path, and the line."""
    return [text, *(text.rsplit(mark, 1)[0].rstrip() for mark in '\t ,;' if mark in text)]


def _hint(folder: Path, name: str) -> str:
    """Return the probable cause why a line names no file, or ''."""
    if os.path.isdir(folder / name):
        return ', but a folder'
    for part in _beginnings(name)[1:]:
        if _is_file(folder, part):
            return f', but {part}; is {name[len(part) :].strip()!r} a label?'
    if name[0] in '{[<':
        return '; is this JSON or XML? A COCO file is given to --train-ann, or statistics --objects'
    if _is_file(folder, re.split(r'[,;\t]', name)[0].strip('"\'')):
        return '; is this a CSV table, or a quoted name?'
    if '\\' in name or re.match('[A-Za-z]:/', name):
        return '; is this a path of Windows?'
    if os.path.isfile(name):
        return ', but relative to the working folder'
    return ''


def _cut(text: object, length: int = 200) -> str:
    return text if len(text := str(text)) <= length else f'{text[:length]}...'


def _printable(text: str) -> str:
    """Return a text in one line, shortened."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in _cut(text, 500))
