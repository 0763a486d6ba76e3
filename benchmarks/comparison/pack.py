"""Data of a study as one small tar file, for machines to which little can be carried."""

import tarfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

import numpy as np

from lomar.datasets import list_images

TRAIN_PER_VAL = 3  # training images for each validation image of a subset


def pack(data: Path, out: Path, megabytes: float) -> int:
    """Write the files of a folder into a tar file of at most so many megabytes (10^6 bytes).

    If they are too large, it is a subset of a folder with `train` and `val`, which have one folder
    per class: as many images of each class as possible, chosen at random with a fixed seed.

    Returns:
        Number of files.

    Raises:
        ValueError: the files are too large, and there is no `train` and `val`.
    """
    files = sorted(path for path in data.rglob('*') if path.is_file())
    limit = megabytes * 1e6 - tarfile.RECORDSIZE  # the end of a tar file
    if _size(files) > limit:
        if not (data / 'train').is_dir() or not (data / 'val').is_dir():
            raise ValueError(
                f'{data} has {_size(files) / 1e6:.0f} MB; allowed: {megabytes:g} MB, or folders '
                'train and val with one folder per class, of which a subset is taken'
            )
        files = list(_subset(data, limit))
    with tarfile.open(out, 'w', format=tarfile.USTAR_FORMAT) as archive:
        for path in files:
            archive.add(path, path.relative_to(data))
    return len(files)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a tar file into a folder and return the folder; nothing is written outside of it."""
    with tarfile.open(archive) as file:
        file.extractall(folder, filter='data')
    return folder


def _subset(data: Path, limit: float) -> Iterator[Path]:
    train, val = balanced(data / 'train', 0), balanced(data / 'val', 0)
    left = limit
    while True:
        group = [*train[:TRAIN_PER_VAL], *val[:1]]
        left -= _size(group)
        if not group or left < 0:
            return
        yield from group
        del train[:TRAIN_PER_VAL], val[:1]


def balanced(folder: Path, seed: int) -> list[Path]:
    """Return the images of class folders in an order that begins with as many of each class.

    Args:
        folder: folder with one folder per class.
        seed: of the order of the images of each class.
    """
    random = np.random.default_rng(seed)
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    classes = [[Path(path) for path in list_images(one)] for one in folders]
    shuffled = [[paths[i] for i in random.permutation(len(paths))] for paths in classes]
    return [path for paths in zip_longest(*shuffled) for path in paths if path]


def _size(files: list[Path]) -> int:
    """Return the bytes of files in a tar file: blocks of 512 bytes, and a header for each."""
    return sum(512 + -(-path.stat().st_size // 512) * 512 for path in files)
