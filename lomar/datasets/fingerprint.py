"""Fingerprints by which the same images, labels or weights are recognized in another place."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

from lomar.datasets.shard_images import ShardImage

MAX_SAMPLES = 5_000  # of which names and labels are read, which takes a second or two
MAX_FILES = 256  # of which the size is read: a file server may need milliseconds for each


def dataset_fingerprint(dataset: Any) -> str | None:
    """Return a hash of names, labels and file sizes, independent of the images' folder.

    Images in tar shards have the hash of the same files in a folder, in the same order. Large
    datasets are sampled evenly. Returns None for a dataset without `get_data_info`, which
    mmengine's datasets have.
    """
    if not hasattr(dataset, 'get_data_info'):
        return None
    infos = [dataset.get_data_info(index) for index in _spread(len(dataset), MAX_SAMPLES)]
    paths = [info['img_path'] for info in infos if isinstance(info.get('img_path'), str)]
    folder = _common_folder(paths)
    digest = hashlib.sha1(usedforsecurity=False)
    for info in infos:
        digest.update(repr(_placeless(info, folder)).encode(errors='surrogateescape'))
    for index in _spread(len(paths), MAX_FILES):
        if (size := _size(paths[index])) is not None:
            digest.update(b'%d,' % size)
    return digest.hexdigest()[:12]


def file_fingerprint(path: str | os.PathLike) -> str:
    """Return a hash of the size, the first and the last MiB of a file."""
    digest = hashlib.sha1(usedforsecurity=False)
    with open(path, 'rb') as file:
        size = file.seek(0, os.SEEK_END)
        digest.update(b'%d,' % size)
        for start in (0, max(size - 2**20, 0)):
            file.seek(start)
            digest.update(file.read(2**20))
    return digest.hexdigest()[:12]


def _spread(number: int, most: int) -> list[int]:
    """Return `most` indices below `number` at equal distances, or all of them."""
    return [index * number // most for index in range(most)] if number > most else [*range(number)]


def _common_folder(paths: Sequence[str]) -> str:
    folders = {os.path.dirname(_place(path)) for path in paths}
    return os.path.commonpath(folders) if folders else ''


def _place(path: str) -> str:
    """Return an absolute path; for an image in a shard, as if the shard were the root."""
    return os.path.abspath(f'/{path.member}' if isinstance(path, ShardImage) else path)


def _size(path: str) -> int | None:
    """Return the bytes of an image file, or of an image in a shard; None if there is none."""
    if isinstance(path, ShardImage):
        return path.size
    return os.path.getsize(path) if os.path.isfile(path) else None


def _placeless(node: object, folder: str) -> object:
    """Return a node in which paths below `folder` are relative, and keys are sorted."""
    if isinstance(node, dict):
        return sorted((str(key), _placeless(value, folder)) for key, value in node.items())
    if isinstance(node, list | tuple):
        return [_placeless(value, folder) for value in node]
    if isinstance(node, str) and folder and os.sep in node:
        path = _place(node)
        return os.path.relpath(path, folder) if path.startswith(folder) else node
    return node
