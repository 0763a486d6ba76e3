"""Images in tar shards: where their bytes are, and their bytes as an open file."""

import io
import os
from pathlib import Path

from lomar.datasets.byte_ranges import read_range


class ShardImage(str):
    """Path of an image in a shard, `shards/000.tar/name.jpg`, that has the place of its bytes.

    The path is a name for logs and records. No file has this path.

    Attributes:
        shard: path or address of the tar file.
        member: name of the image in the tar file.
        offset, size: place of the image's bytes in the tar file.
    """

    __slots__ = ('offset', 'shard', 'size')  # a dict for each of a million images takes a gigabyte
    shard: str
    offset: int
    size: int

    def __new__(cls, shard: str, member: str, offset: int, size: int):
        path = super().__new__(cls, f'{shard}/{member}')
        path.shard, path.offset, path.size = shard, offset, size
        return path

    @property
    def member(self) -> str:
        return self[len(self.shard) + 1 :]

    def __str__(self) -> 'ShardImage':
        """Return the path with its place, which a copy as plain text would lose."""
        return self

    def __reduce__(self) -> tuple:
        """Keep the place in a pickle, in which datasets keep their samples."""
        return type(self), (self.shard, self.member, self.offset, self.size)


class ImageBytes(io.BytesIO):
    """Content of an image in a shard, named like the image in errors."""

    def __init__(self, image: ShardImage):
        super().__init__(read_range(image.shard, image.offset, image.size))
        self.image = image

    def __str__(self) -> str:
        return self.image

    def __repr__(self) -> str:  # is in Pillow's errors
        return repr(self.image)


ImageFile = str | Path | ImageBytes


def opened(path: ImageFile) -> ImageFile:
    """Return a path that decoders open; the bytes of an image in a shard, which are read once.

    A first `~` of a path is the home folder.

    Raises:
        OSError: the shard cannot be read, see `read_range`.
    """
    if isinstance(path, ShardImage):
        return ImageBytes(path)
    return path if isinstance(path, ImageBytes) else os.path.expanduser(path)


def content(path: ImageFile) -> bytes:
    """Return the bytes of an image file, or of an image in a shard."""
    path = opened(path)
    return path.getvalue() if isinstance(path, ImageBytes) else Path(path).read_bytes()


def first_bytes(path: ImageFile, number: int) -> bytes:
    """Return the first bytes of an image file, or of an image in a shard."""
    path = opened(path)
    if isinstance(path, ImageBytes):
        return path.getvalue()[:number]
    with open(path, 'rb') as file:
        return file.read(number)
