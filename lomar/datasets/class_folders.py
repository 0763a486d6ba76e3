"""Labelled images in class folders: file lists, splits, and images at one size for the probes."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lomar.datasets.folder_walk import FolderWalk, is_system, log_left_out, summary
from lomar.datasets.image_io import read_rgb
from lomar.datasets.resize import fit_pixels

Sample = tuple[str, int]  # path, label
READERS = 4  # threads; decoding and resizing release Python's global lock
READ = 256  # images read at a time

LAYOUT = """\
Allowed is a folder with one folder of images per class:
    flowers/rose/1.jpg  flowers/tulip/2.jpg              (a part of every class is held out)
or such a folder for training and one for validation:
    flowers/train/rose/1.jpg  flowers/val/rose/3.jpg"""


def split_folder(
    root: str | Path, val_share: float = 0.2, seed: int = 0, arrays: bool = False
) -> tuple[list[str], list[Sample], list[Sample]]:
    """Return class names, training samples and validation samples.

    Without `train` and `val` folders in `root`, a random `val_share` of every class is held out: at
    least one image, but not a class's only image. `arrays` is that of `list_classes`.

    Raises:
        FileNotFoundError: the folder does not exist, has no class folders, or a class is empty.
        ValueError: there is a single class, or a validation class without training images.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        what = 'is no folder' if root.exists() else 'does not exist'
        raise FileNotFoundError(f'Labelled images: {root} {what}.\n{LAYOUT}')
    split = (root / 'train').is_dir() and (root / 'val').is_dir()
    try:
        classes, samples = list_classes(root / 'train' if split else root, arrays)
        val_classes, val = list_classes(root / 'val', arrays) if split else (classes, [])
    except FileNotFoundError as error:
        raise FileNotFoundError(f'Labelled images: {error}\n{LAYOUT}') from error
    if len(classes) < 2:
        raise ValueError(f'Labelled images: {root} has the single class {classes}.\n{LAYOUT}')
    if strange := sorted(set(val_classes) - set(classes)):
        raise ValueError(f'Labelled images: {root}/val has the classes {strange}, train has not.')
    if split:
        return classes, samples, [(path, classes.index(val_classes[i])) for path, i in val]
    return classes, *_hold_out(samples, val_share, seed)


def list_classes(folder: str | Path, arrays: bool = False) -> tuple[list[str], list[Sample]]:
    """Return the names of the class folders in a folder, and the images that `FolderWalk` finds.

    Args:
        arrays: whether `.npy` files count.

    Raises:
        FileNotFoundError: the folder does not exist, has no class folders, or a class is empty.
    """
    with os.scandir(folder) as entries:
        classes = sorted(one.name for one in entries if one.is_dir() and not is_system(one.name))
    if not classes:
        raise FileNotFoundError(f'there are no class folders in {folder}')
    images: dict[str, list[str]] = {name: [] for name in classes}
    walk = FolderWalk(folder, arrays)
    start = len(os.path.join(folder, ''))
    for path in walk:
        name, *below = path[start:].split(os.sep, 1)
        if below:
            images[name].append(path)
        else:
            walk.left_out.setdefault('an image beside the class folders', []).append(path)
    if empty := [name for name in classes if not images[name]]:
        found = f'; not counted: {summary(walk.left_out)}' if walk.left_out else ''
        raise FileNotFoundError(
            f'{len(empty)} class folders of {folder} have no image of their own, such as '
            f'{empty[:3]}{found}'
        )
    log_left_out(folder, walk.left_out)
    # A folder's own files come before those of its folders.
    ordered = {name: sorted(images[name], key=os.path.split) for name in classes}
    return classes, [(path, label) for label, name in enumerate(classes) for path in ordered[name]]


class FixedSizeImages:
    """Images that are resized and center-cropped to one size.

    Args:
        size: (height, width) in pixels.
        max_memory: bytes of memory for all images; if they need more, they are read every time.
        value_range: see `read_rgb`.

    Raises:
        UnreadableImage: an image cannot be read.
    """

    def __init__(
        self,
        paths: Sequence[str],
        size: tuple[int, int],
        max_memory: float,
        value_range: Sequence[float] | None = None,
    ):
        self.paths, self.size, self.kept, self.value_range = paths, size, None, value_range
        self.bytes = len(paths) * 3 * size[0] * size[1]
        shape = (len(paths), 3, *size)
        kept = torch.empty(shape, dtype=torch.uint8) if self.bytes <= max_memory else None
        for i, batch in enumerate(self.batches(READ)):  # kept or not: errors are raised now
            if kept is not None:
                kept[i * READ : (i + 1) * READ] = batch
        self.kept = kept

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """Yield all images in order, (B, 3, H, W) uint8."""
        if self.kept is not None:
            yield from self.kept.split(batch_size)
            return
        with ThreadPoolExecutor(READERS) as pool:
            for start in range(0, len(self.paths), batch_size):
                arrays = pool.map(self._read, self.paths[start : start + batch_size])
                yield torch.from_numpy(np.stack(list(arrays))).permute(0, 3, 1, 2).contiguous()

    def _read(self, path: str) -> np.ndarray:
        return fit_pixels(np.asarray(read_rgb(path, self.value_range)), self.size)


def _hold_out(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Return the samples of every class in two random parts, the second with `share` of them."""
    generator = np.random.default_rng(seed)
    train, val = [], []
    for _, group in groupby(samples, key=itemgetter(1)):
        of_class = list(group)
        held = min(max(1, round(share * len(of_class))), len(of_class) - 1)
        order = generator.permutation(len(of_class))
        val += [of_class[i] for i in sorted(order[:held])]
        train += [of_class[i] for i in sorted(order[held:])]
    return train, val
