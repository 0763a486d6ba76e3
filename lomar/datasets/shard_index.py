"""The members of tar shards: read from the tar headers once, then from an index beside the tar."""

import io
import json
import os
import socket
import tarfile
from collections import Counter
from logging import WARNING
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import msgspec
from mmengine.logging import print_log

from lomar.datasets.byte_ranges import file_size, is_url, read_range

SUFFIX = '.index'  # after the name of the tar file
VERSION = 1
BLOCK = tarfile.BLOCKSIZE
READ = 2**18  # bytes of a remote tar that are read at a time: several headers of small images
PADDING = 2**20  # largest number of zero bytes that are expected after the members
# First bytes of compressed files: name of the format, and command that decompresses it.
COMPRESSED = {
    b'\x1f\x8b': ('gzip', 'gunzip'),
    b'BZh': ('bzip2', 'bunzip2'),
    b'\xfd7zXZ': ('xz', 'unxz'),
    b'\x28\xb5\x2f\xfd': ('zstd', 'unzstd'),
}


class ShardIndex(msgspec.Struct):
    """Members of a tar file.

    Attributes:
        size: bytes of the tar file.
        files: name, first byte of the content, and size of every regular file, in the tar's order.
        others: number of links, devices and other members without content, by kind.
        version: of the format; an index of another version is made again.
    """

    size: int
    files: list[tuple[str, int, int]]
    others: dict[str, int] = {}
    version: int = VERSION


def index_path(shard: str) -> str:
    """Return the path or address of the index of a shard."""
    if not is_url(shard):
        return shard + SUFFIX
    parts = urlsplit(shard)
    return urlunsplit(parts._replace(path=parts.path + SUFFIX))


def load_index(shard: str) -> ShardIndex:
    """Return the index of a shard, which is made, and stored on a local disk, if need be.

    An index is used if it names the size of the shard and the last member is where it says.

    Raises:
        FileNotFoundError: there is no such shard.
        OSError: the shard cannot be read.
        ValueError: the file is no tar file, compressed or truncated, or has sparse or repeated
            members.
    """
    size = file_size(shard)
    index = _stored(shard)
    if index is not None and index.size == size and _fits(shard, index):
        return index
    if is_url(shard):
        what = f'{shard} has no usable index ({index_path(shard)}): the headers in it are read'
        print_log(what, logger='current', level=WARNING)
        return scan(shard, size)
    found = scan(shard, size)
    store_index(shard, found)
    return found


def scan(shard: str, size: int) -> ShardIndex:
    """Return the index of a shard, read from the headers in the tar file; see `load_index`."""
    _check_start(shard, size)
    file = io.BufferedReader(_Ranges(shard, size), READ if is_url(shard) else 2 * BLOCK)
    files: list[tuple[str, int, int]] = []
    others: Counter[str] = Counter()
    try:
        with tarfile.open(fileobj=file, mode='r:', encoding='utf-8') as tar:
            for member in tar:
                if member.issparse():
                    raise ValueError(
                        f'{shard}: {member.name} is a sparse member, whose bytes are not in one '
                        'piece; write the tar file without --sparse'
                    )
                if member.isreg():
                    files.append((member.name, member.offset_data, member.size))
                elif not member.isdir():
                    others[_kind(member)] += 1
            end = tar.offset
    except tarfile.TarError as error:
        raise ValueError(f'{shard} is damaged, truncated or no tar file: {error}') from error
    _check_end(shard, size, end, len(files))
    times = Counter(name for name, _, _ in files)
    if repeated := [name for name, number in times.items() if number > 1]:
        raise ValueError(
            f'{shard}: {len(repeated)} names of members are repeated, such as {repeated[0]} '
            f'({times[repeated[0]]} times); write the tar file again with each file once'
        )
    return ShardIndex(size, files, dict(others))


def store_index(shard: str, index: ShardIndex) -> None:
    """Write an index beside a local shard; a folder that cannot be written is left as it is."""
    # Several processes, on several computers, may write the same index at the same time.
    part = Path(f'{shard}{SUFFIX}.{socket.gethostname()}-{os.getpid()}.part')
    text = json.dumps(msgspec.to_builtins(index), separators=(',', ':'))
    try:
        part.write_text(text + '\n', encoding='ascii')
        part.replace(index_path(shard))
    except OSError as error:
        part.unlink(missing_ok=True)
        print_log(f'The index of {shard} is made at every start: {error}', logger='current')


def _stored(shard: str) -> ShardIndex | None:
    """Return the stored index of a shard; None if there is none, or it cannot be used."""
    path = index_path(shard)
    try:
        text = read_range(path, 0, file_size(path))
    except (FileNotFoundError, PermissionError):
        return None
    try:
        return msgspec.json.decode(text, type=ShardIndex)
    except msgspec.ValidationError:
        return None
    except (ValueError, msgspec.DecodeError):  # damaged, or with names in other encodings
        pass
    try:
        return msgspec.convert(json.loads(text), ShardIndex)
    except (ValueError, msgspec.ValidationError):
        return None


def _fits(shard: str, index: ShardIndex) -> bool:
    """Return whether an index has the present version, and the last member is where it says."""
    if index.version != VERSION:
        return False
    inside = all(BLOCK <= start <= start + size <= index.size for _, start, size in index.files)
    if not inside or not index.files:
        return inside
    name, start, size = index.files[-1]
    try:
        header = tarfile.TarInfo.frombuf(
            read_range(shard, start - BLOCK, BLOCK), 'utf-8', 'surrogateescape'
        )
    except tarfile.TarError:
        return False
    # Other names, and sizes above 8 GiB, are in a header of their own.
    named = header.name == name or len(name) >= tarfile.LENGTH_NAME or not name.isascii()
    return header.isreg() and named and header.size in (size, 0)


def _check_start(shard: str, size: int) -> None:
    """Raise a ValueError if the first bytes of a shard are those of another kind of file."""
    start = read_range(shard, 0, min(size, BLOCK))
    for magic, (name, command) in COMPRESSED.items():
        if start.startswith(magic):
            raise ValueError(
                f'{shard} is compressed by {name}, and parts of it cannot be read; images are '
                f'compressed already: decompress it with {command}'
            )
    if size < BLOCK:
        raise ValueError(f'{shard} has {size} bytes and is empty or truncated, no tar file')


def _check_end(shard: str, size: int, end: int, members: int) -> None:
    """Raise a ValueError unless only zeros follow the last member of a tar file."""
    rest = read_range(shard, end, min(size - end, PADDING)) if end < size else b''
    if len(rest) < BLOCK or any(rest[:BLOCK]):
        raise ValueError(
            f'{shard} is truncated or damaged at byte {min(end, size)} of {size}, after {members} '
            'files: the end of a tar file is missing; copy or write it again'
        )
    if any(rest):
        raise ValueError(
            f'{shard} has data after the end of the tar file, at byte {end}: joined tar files are '
            'not read; give each as a shard'
        )


def _kind(member: tarfile.TarInfo) -> str:
    return 'a link' if member.islnk() or member.issym() else 'no regular file'


class _Ranges(io.RawIOBase):
    """A shard as a file that `tarfile` reads, opened by `read_range`."""

    def __init__(self, shard: str, size: int):
        self.shard, self.size, self.position = shard, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {0: 0, 1: self.position, 2: self.size}[whence]
        return self.position

    def readinto(self, buffer) -> int:
        number = max(0, min(len(buffer), self.size - self.position))
        buffer[:number] = read_range(self.shard, self.position, number)
        self.position += number
        return number
