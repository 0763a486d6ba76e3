"""Shards by name: patterns such as `shards/{000..127}.tar`, and the images in them."""

import glob
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import TypeVar

from lomar.datasets.byte_ranges import file_size, find_urls, forget_handles, is_url
from lomar.datasets.folder_walk import ARRAYS, SUFFIXES, is_system
from lomar.datasets.shard_images import ShardImage
from lomar.datasets.shard_index import load_index

T = TypeVar('T')
NAME = re.compile(r'\.(tar(\.(gz|bz2|xz|zst|lz4|Z))?|tgz|tbz2?|txz)(\?.*)?$', re.IGNORECASE)
NAMED = 5  # shards that an error names
MOST = 1_000_000  # shards of a pattern
READERS = 16  # threads that read indices
FORM = (
    "Allowed as shards: one tar file, a pattern in quotes such as 'shards/{000..127}.tar' or "
    "'shards/*.tar', or a folder of tar files, each also at https:// or s3://"
)


def is_shards(name: str | Path) -> bool:
    """Return whether a name is that of a tar file, or a pattern of them; folders are not."""
    return bool(NAME.search(re.sub(r'\}$', '', str(name)))) and not Path(name).is_dir()


def list_shards(name: str | Path) -> list[str]:
    """Return the shards that a name or pattern stands for, in its order; with *, sorted.

    Raises:
        FileNotFoundError: shards do not exist; the error has their number and the first names.
        ValueError: a pattern cannot be expanded.
    """
    name = str(name) if is_url(str(name)) else str(Path(name).expanduser())
    if not is_url(name) and Path(name).is_file():
        return [name]
    names = list(_matches(expand_braces(name)))
    missing = [path for path, there in zip(names, _each(_exists, names), strict=True) if not there]
    if not names or missing:
        first = ''.join(f'\n  {path}' for path in missing[:NAMED])
        what = f'{len(missing)} of {len(names)} shards do not exist:{first}' if names else ''
        raise FileNotFoundError(f'{name}: {what or "no file has such a name"}\n{FORM}')
    return names


def shard_images(
    shards: Sequence[str], arrays: bool = False
) -> tuple[list[ShardImage], dict[str, list[str]]]:
    """Return the images in shards, in the order of shards and members, and what does not count.

    Members count as files of a folder do, see `FolderWalk`. Names are only names: nothing is
    extracted, and no path of a member is opened.

    Args:
        arrays: whether `.npy` files count.

    Raises:
        OSError, ValueError: a shard cannot be used, see `load_index`.
    """
    forget_handles()
    images: list[ShardImage] = []
    left_out: dict[str, list[str]] = {}
    suffixes = SUFFIXES | ARRAYS if arrays else SUFFIXES
    for shard, index in zip(shards, _each(load_index, shards), strict=True):
        before = len(images)
        for kind, number in index.others.items():
            left_out.setdefault(kind, []).extend([f'in {shard}'] * number)
        for member, offset, size in index.files:
            image = ShardImage(shard, member, offset, size)
            if reason := _reason(member, suffixes):
                left_out.setdefault(reason, []).append(image)
            else:
                images.append(image)
        if len(images) == before:
            left_out.setdefault('a shard without images', []).append(shard)
    forget_handles()  # each process that loads data opens files itself
    return images, left_out


def expand_braces(pattern: str) -> list[str]:
    """Return the names of a pattern with ranges `{000..127}` and lists `{a,b}`, as Bash does.

    Raises:
        ValueError: braces are nested or not closed, a range falls, or there are too many names.
    """
    parts = re.split(r'\{([^{}]*)\}', pattern)  # text and contents of braces in turns
    choices = [_choices(pattern, part) if i % 2 else [part] for i, part in enumerate(parts)]
    if any(mark in part for part in parts[::2] for mark in '{}'):
        raise ValueError(f'{pattern}: braces are nested or not closed; {FORM}')
    number = 1
    for choice in choices:
        number *= len(choice)
    if number > MOST:
        raise ValueError(f'{pattern} stands for {number} shards; allowed: {MOST}')
    return [''.join(words) for words in product(*choices)]


def _choices(pattern: str, text: str) -> Sequence[str]:
    bounds = re.fullmatch(r'(\d+)\.\.(\d+)', text)
    if not bounds:
        if ',' not in text:
            raise ValueError(f'{pattern}: {{{text}}} is no range such as {{000..127}}; {FORM}')
        return text.split(',')
    low, high = map(int, bounds.groups())
    if not low <= high < low + MOST:
        raise ValueError(
            f'{pattern}: {{{text}}} has {max(0, high - low + 1)} numbers; allowed: LOW..HIGH with '
            f'1 to {MOST}'
        )
    padded = any(len(bound) > 1 and bound[0] == '0' for bound in bounds.groups())
    width = max(map(len, bounds.groups())) if padded else 0
    return [f'{number:0{width}d}' for number in range(low, high + 1)]


def _matches(names: Sequence[str]) -> Iterator[str]:
    """Yield names, and for patterns with *, ? or [ the sorted files that exist."""
    for name in names:
        is_web = is_url(name) and name.lower().startswith('http')
        path = name.partition('?')[0] if is_web else name  # ? begins a query
        if not glob.has_magic(path) or (not is_url(name) and Path(name).exists()):
            yield name
        elif is_url(name):
            yield from find_urls(name)
        else:
            yield from sorted(glob.glob(name, recursive=True))


def _exists(name: str) -> bool:
    if not is_url(name):
        return Path(name).is_file()
    try:
        file_size(name)
    except FileNotFoundError:
        return False
    return True


def _each(work: Callable[[str], T], names: Sequence[str]) -> Iterator[T]:
    """Yield the results for all names, computed in threads: servers take time to answer."""
    with ThreadPoolExecutor(READERS) as pool:
        yield from pool.map(work, names)


def _reason(member: str, suffixes: frozenset[str]) -> str:
    """Return why a member does not count as an image, or ''."""
    folder, _, name = member.rpartition('/')
    if is_system(name) or _is_system_folder(folder):
        return 'hidden or of a system'
    suffix = os.path.splitext(name)[1]
    return '' if suffix.lower() in suffixes else f'a file {suffix or "without suffix"}'


@lru_cache(maxsize=64)
def _is_system_folder(folder: str) -> bool:
    return any(is_system(part) for part in folder.split('/') if part not in ('', '.', '..'))
