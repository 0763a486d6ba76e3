"""The images, videos and addresses that IMAGES of a command line name."""

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from itertools import takewhile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from lomar.datasets.folder_walk import (
    ARRAYS,
    OWN,
    SUFFIXES,
    FolderWalk,
    holds_pictures,
    is_system,
    log_left_out,
    summary,
)
from lomar.datasets.text_lists import EXAMPLES, existing, list_error, read_lines
from lomar.datasets.unlabelled import FILES, holds_images, list_images

VIDEOS = frozenset(('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv'))
WEB = ('http://', 'https://')
FORM = 'Allowed in a list: one path of an image or a video, or one http(s) address, per line.'
ADVICE = f'{FILES} A quoted glob names videos.'
KINDS = 'files, folders, text lists, quoted globs, http(s) addresses'


@dataclass(frozen=True)
class Source:
    """Image or video to predict.

    Attributes:
        name: path or address, as it was found.
        title: name in the results: the path relative to the folder that all files have in common,
            or the address.
        place: path that determines the name of the picture; for an address, a path that does not
            exist.
    """

    name: str
    title: str
    place: str

    @property
    def is_web(self) -> bool:
        """Return whether the source is an address."""
        return is_web(self.name)

    @property
    def is_video(self) -> bool:
        """Return whether the source is a video, by its suffix."""
        return suffix_of(self.name) in VIDEOS


def check_names(names: Sequence[str]) -> None:
    """Raise an error for names that neither exist nor are globs or addresses; read no folder.

    Raises:
        FileNotFoundError: files do not exist.
        ValueError: an address has another scheme than http and https, or is malformed.
    """
    for name in names:
        if fault := _fault(name):
            raise ValueError(f'IMAGES: {fault}')
        if '://' in name and not is_web(name) and not os.path.exists(name):
            raise ValueError(f'{name} has an unknown scheme; allowed as IMAGES: {KINDS}')
    missing = [
        name for name in names if not (is_web(name) or has_magic(name) or os.path.exists(name))
    ]
    if missing:
        raise FileNotFoundError(
            f'{len(missing)} IMAGES do not exist, such as {missing[:3]}; allowed: {KINDS}'
        )


def find_sources(names: Sequence[str], arrays: bool = False) -> tuple[list[Source], str]:
    """Return each image and video once, in the order of the names, and their common folder.

    A folder stands for its images, see `lomar.datasets.list_images`; a text list for its lines; a
    glob, with ** for folders at any depth, for images, videos and folders that match.

    Args:
        arrays: whether `.npy` files in folders count.

    Returns:
        The sources; and the absolute path to which their titles are relative.

    Raises:
        FileNotFoundError: files do not exist, or a folder, list or glob has none that count.
        ValueError: a list has lines that cannot be used, or an address has an unknown scheme.
    """
    check_names(names)
    listed = (path for name in names for path in _named(name, arrays))
    found = {path if is_web(path) else os.path.abspath(path): path for path in listed}.values()
    parents = [os.path.dirname(os.path.abspath(path)) for path in found if not is_web(path)]
    common = os.path.commonpath(parents) if parents else os.getcwd()
    places = {path for path in found if not is_web(path)}
    sources = []
    for path in found:
        title, place = path, path
        if is_web(path):
            place = _place(os.path.join(common, 'web', _web_path(path)), places)
            places.add(place)
        else:
            title = os.path.relpath(os.path.abspath(path), common)
        sources.append(Source(path, title, place))
    return sources, common


def _place(path: str, taken: Collection[str]) -> str:
    """Return a path, with a number if it is taken."""
    (stem, suffix), place, number = os.path.splitext(path), path, 1
    while place in taken:
        number += 1
        place = f'{stem}_{number}{suffix}'
    return place


def is_web(name: str) -> bool:
    """Return whether a name is an http(s) address."""
    return name.lower().startswith(WEB)


def _fault(name: str) -> str:
    """Return why an http(s) address is malformed, or '' for others and for paths."""
    try:
        if is_web(name):
            urlsplit(name)
    except ValueError as error:
        return f'{name} is no address: {error}; allowed: http(s)://HOST/PATH'
    return ''


def suffix_of(name: str) -> str:
    """Return the suffix of a path, or of the path in an address, in lower case."""
    path = urlsplit(name).path if is_web(name) else name
    return os.path.splitext(path)[1].lower()


def _named(name: str, arrays: bool) -> Iterator[str]:
    """Yield the paths and addresses of one name."""
    if is_web(name):
        yield name
    elif not os.path.exists(name):
        yield from _matches(name, arrays)
    else:
        yield from _in_path(name, arrays)


def _in_path(path: str, arrays: bool) -> Iterator[str]:
    if (suffix_of(path) in VIDEOS and os.path.isfile(path)) or not holds_images(path):
        yield path
    elif os.path.isdir(path):
        yield from list_images(path, arrays, advice=ADVICE)
    else:
        lines = read_lines(Path(path), FORM)
        if wrong := [(line.number, fault) for line in lines if (fault := _fault(line.text))]:
            raise list_error(Path(path), wrong[:EXAMPLES], FORM, len(wrong), len(lines))
        files = iter(existing(Path(path), [line for line in lines if not is_web(line.text)], FORM))
        if not lines:
            raise FileNotFoundError(f'{path} names no images. {FORM}')
        yield from (line.text if is_web(line.text) else next(files) for line in lines)


def _matches(pattern: str, arrays: bool) -> Iterator[str]:
    """Yield the images and videos that match a glob, and the images of folders that match."""
    suffixes, any_found = SUFFIXES | VIDEOS | (ARRAYS if arrays else frozenset()), False
    base = os.path.join(*takewhile(lambda part: not has_magic(part), Path(pattern).parts), '')
    left_out: dict[str, list[str]] = {}
    for path in sorted(glob(pattern, recursive=True)):
        inside: list[str] = []
        if own := _own_pictures(path, base):
            left_out[OWN] = [*dict.fromkeys((*left_out.get(OWN, ()), own))]
        elif os.path.isdir(path):
            # ** also matches each folder between, whose files match themselves.
            hidden = '**' in pattern or is_system(os.path.basename(os.path.normpath(path)))
            inside = [] if hidden else sorted(FolderWalk(path, arrays))
        elif suffix_of(path) in suffixes and os.path.isfile(path):
            inside = [path]
        yield from inside
        any_found |= bool(inside)
    if not any_found:
        found = f' (not counted: {summary(left_out)})' if left_out else ''
        raise FileNotFoundError(f'IMAGES {pattern!r} matches no image or video{found}')
    log_left_out(pattern, left_out)


def _own_pictures(path: str, base: str) -> str:
    """Return the folder of pictures of an earlier run, below `base`, that a path is in, or ''."""
    folder = Path(path if os.path.isdir(path) else os.path.dirname(path))
    below = [folder, *folder.parents][: max(0, len(folder.parts) - len(Path(base).parts))]
    return next((str(each) for each in below if holds_pictures(each)), '')


def _web_path(address: str) -> str:
    """Return a relative path that stands for an address: host, path and query, without '..'."""
    parts = urlsplit(address)
    path = PurePosixPath(unquote(parts.path))
    kept = [part for part in path.parts if part not in ('/', '..', '.')] or ['index']
    query = f'_{parts.query}' if parts.query else ''
    name = f'{_part(Path(kept[-1]).stem + query)}{_part(path.suffix)[:10]}'
    return os.path.join(_part(parts.netloc.rpartition('@')[2]), *map(_part, kept[:-1]), name)


def _part(text: str) -> str:
    """Return a text as a part of a path, of at most 200 bytes."""
    return os.fsdecode(os.fsencode(text.replace('/', '_').replace('\0', '_'))[:200])
