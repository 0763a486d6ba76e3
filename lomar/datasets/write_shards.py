"""Write the images of a folder or text list into tar shards."""

import os
import tarfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from lomar.datasets.byte_ranges import forget_handles
from lomar.datasets.image_io import read_pixels
from lomar.datasets.shard_index import index_path, load_index, scan, store_index
from lomar.datasets.unlabelled import FILES, list_images
from lomar.datasets.unreadable import UnreadableImage
from lomar.utils import atomic_write, write_json

SUMMARY = 'shards.json'
MEGABYTE = 10**6


class Member(NamedTuple):
    """A file that goes into a shard: its path, its name in the shard, and its bytes."""

    path: str
    name: str
    size: int


def write_shards(
    source: str | Path,
    out: str | Path,
    images_per_shard: int | None = None,
    megabytes: int = 500,
    check: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
) -> dict:
    """Write the images of a folder or text list, with their relative names, to `out`/000.tar ...

    The same files give equal bytes. Shards are written whole: after an interruption, those that are
    complete and newer than their images are kept.

    Args:
        images_per_shard: images per shard; None = as many as `megabytes` allow.
        megabytes: size in 1,000,000 bytes at which a shard is full.
        check: whether to decode all images first, and leave out the unreadable ones.
        overwrite: whether to replace shards of an earlier run.
        workers: processes that decode; None = one per core.

    Returns:
        the contents of `out`/shards.json: {'source', 'images', 'bytes', 'shards' (names), 'kept'
        (number of shards), 'unreadable' (path: reason)}.

    Raises:
        FileNotFoundError: `source` has no images.
        OSError: a file cannot be read, or changes meanwhile.
        ValueError: two images have one name, or `out` has other shards.
    """
    source, out = Path(source).expanduser(), Path(out).expanduser()
    if (out / SUMMARY).exists() and not overwrite:
        raise ValueError(f'OUT {out} has shards already; --overwrite replaces them')
    paths = list_images(source, arrays=True, shards=False, advice=FILES)
    unreadable = _unreadable(paths, workers) if check else {}
    if len(unreadable) == len(paths):
        raise OSError(f'none of {len(paths)} images in {source} can be read, such as {paths[0]}')
    readable = [path for path in paths if path not in unreadable]
    parts = _split(_members(source, readable), images_per_shard, megabytes * MEGABYTE)
    width = max(3, len(str(len(parts) - 1)))
    shards = {str(out / f'{number:0{width}d}.tar'): part for number, part in enumerate(parts)}
    kept = _kept(out, shards, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    (out / SUMMARY).unlink(missing_ok=True)
    for shard, part in tqdm(shards.items(), unit=' shards'):
        if shard not in kept:
            _write(shard, part)
    summary = dict(
        source=str(source),
        images=len(readable),
        bytes=sum(map(os.path.getsize, shards)),
        shards=[Path(shard).name for shard in shards],
        kept=len(kept),
        unreadable=unreadable,
    )
    write_json(out / SUMMARY, summary)
    return summary


def _members(source: Path, paths: Sequence[str]) -> list[Member]:
    """Return the members of all shards; names are relative to the folder, or to that of a list."""
    places = [os.path.abspath(path) for path in paths]
    root = os.path.abspath(source if source.is_dir() else source.parent)
    folders = {os.path.dirname(place) for place in places}
    if os.path.commonpath([root, *folders]) != root:  # a list may name files anywhere
        root = os.path.commonpath(folders)
    names = [os.path.relpath(place, root) for place in places]
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise ValueError(f'{source} names {name} {times} times; allowed: every file once')
    return [
        Member(path, name, os.path.getsize(path)) for path, name in zip(paths, names, strict=True)
    ]


def _split(members: Sequence[Member], number: int | None, size: int) -> list[list[Member]]:
    """Return the members of each shard: `number`, or as many as fill `size` bytes."""
    if number:
        return [[*members[i : i + number]] for i in range(0, len(members), number)]
    parts: list[list[Member]] = [[]]
    filled = 0
    for member in members:
        if filled >= size:
            parts.append([])
            filled = 0
        parts[-1].append(member)
        filled += tarfile.BLOCKSIZE + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
    return parts


def _kept(out: Path, shards: dict[str, list[Member]], overwrite: bool) -> set[str]:
    """Return the shards that an interrupted run has completed.

    Raises:
        ValueError: `out` has shards with other images, or, without `overwrite`, outdated ones.
    """
    if out.exists() and not out.is_dir():
        raise ValueError(f'OUT {out} is a file; allowed: a folder')
    there = sorted(str(path) for path in out.glob('*.tar'))
    if others := [path for path in there if path not in shards]:
        raise ValueError(
            f'OUT {out} has {len(others)} tar files that are not of this run, such as {others[0]}; '
            'remove them, or name another folder'
        )
    if overwrite:
        return set()
    kept = {path for path in there if _is_complete(path, shards[path])}
    if outdated := [path for path in there if path not in kept]:
        raise ValueError(
            f'OUT {out} has {len(outdated)} shards that differ from the images or the settings, '
            f'such as {outdated[0]}; --overwrite replaces them'
        )
    return kept


def _is_complete(shard: str, members: Sequence[Member]) -> bool:
    """Return whether a shard has exactly these members, and is newer than their files."""
    forget_handles()
    try:
        files = load_index(shard).files
    except ValueError:
        return False
    same = [(name, size) for name, _, size in files] == [(one.name, one.size) for one in members]
    return same and os.path.getmtime(shard) >= max(os.path.getmtime(one.path) for one in members)


def _write(shard: str, members: Sequence[Member]) -> None:
    """Write a shard and its index."""
    Path(index_path(shard)).unlink(missing_ok=True)
    # The encoding is that of names in any locale.
    new = partial(tarfile.TarFile, mode='w', format=tarfile.PAX_FORMAT, encoding='utf-8')
    with atomic_write(shard) as part, new(part) as tar:
        for member in members:
            content = Path(member.path).read_bytes()
            if len(content) != member.size:
                raise OSError(
                    f'{member.path} had {member.size} bytes and has {len(content)} now: it changes '
                    'while shards are written'
                )
            info = tarfile.TarInfo(member.name)  # no time, owner or rights of the file
            info.size = member.size
            tar.addfile(info, BytesIO(content))
    forget_handles()
    store_index(shard, scan(shard, os.path.getsize(shard)))


def _unreadable(paths: Sequence[str], workers: int | None) -> dict[str, str]:
    """Return the reasons why images cannot be decoded, by path."""
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        reasons = tqdm(pool.map(_reason, paths, chunksize=16), total=len(paths), unit=' images')
        return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}


def _reason(path: str) -> str:
    """Return why an image cannot be decoded, or ''."""
    try:
        read_pixels(path)
    except UnreadableImage as error:
        return error.reason
    return ''
