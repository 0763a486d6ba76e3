"""Dataset of unlabelled images in a folder tree or in a list of files."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from lomar.datasets.image_io import SUFFIXES, UnreadableImage
from lomar.datasets.replay import Draw, seed_everything

MAX_TRIES = 10

LAYOUT = """\
Allowed: a folder that contains JPEG, PNG, WebP, TIFF, BMP or .npy images at any depth:
    data/imagenet/train/n01440764/n01440764_10026.JPEG     (labels are not used)
or a text file with one image path per line, relative to the text file's folder or absolute.
Give your own images with --train-images DIR, or make the embedded dataset (takes a minute):
    lomar shapes --out data/shapes
    lomar train shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes"""


def find_images(root: str | Path) -> Iterator[str]:
    """Yield the paths of all images below a folder, or listed in a text file.

    Raises:
        FileNotFoundError: the folder or file does not exist.
    """
    root = Path(root).expanduser()
    if root.is_file():
        for line in read_lines(root):
            if line.strip():
                yield str(root.parent / line.strip())
    elif root.is_dir():
        for folder, _, names in os.walk(root, followlinks=True):
            for name in names:
                if os.path.splitext(name)[1].lower() in SUFFIXES:
                    yield os.path.join(folder, name)
    else:
        raise FileNotFoundError(f'Images: {root} does not exist.\n{LAYOUT}')


def read_lines(path: str | Path) -> list[str]:
    """Return the lines of a text list, in which names of files may be in any encoding."""
    # 'utf-8-sig' because editors on Windows add a byte order mark.
    return Path(path).read_text(encoding='utf-8-sig', errors='surrogateescape').split('\n')


def check_images(root: str | Path) -> None:
    """Raise a FileNotFoundError with the allowed layouts if `find_images` finds no image."""
    if next(find_images(root), None) is None:
        raise FileNotFoundError(f'Images: there are none in {root}.\n{LAYOUT}')


def list_images(root: str | Path) -> list[str]:
    """Return the sorted paths of `find_images`; errors are those of `check_images`."""
    check_images(root)
    return sorted(find_images(root))


@DATASETS.register_module()
class UnlabelledImages(BaseDataset):
    """Dataset of the images in a folder tree or in a text list, without labels.

    An image that cannot be read is replaced by another one, drawn from the same seed. The field
    `unreadable` of the sample's `data_samples` has the reason by path.

    Args:
        data_root: folder, or text file with one path per line.
        pipeline: transforms; the first one raises `UnreadableImage`.
    """

    def __init__(self, data_root: str, pipeline: list, **kwargs):
        super().__init__(data_root=data_root, data_prefix={}, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict with `img_path` per image."""
        return [dict(img_path=path) for path in list_images(self.data_root)]

    def __getitem__(self, index: int) -> dict:
        """Return a sample, augmented with the seed of `index` if that is a `Draw`.

        Raises:
            OSError: `MAX_TRIES` images in a row cannot be read.
            UnreadableImage: an image cannot be read, in `test_mode`.
        """
        if not self._fully_initialized:
            self.full_init()
        if isinstance(index, Draw):
            seed_everything(index.seed)
        unreadable = {}
        for _ in range(MAX_TRIES):
            try:
                sample = self.pipeline(self.get_data_info(int(index)))
            except UnreadableImage as error:
                if self.test_mode:
                    raise
                unreadable[error.path] = error.reason
                index = np.random.randint(len(self))
                continue
            if unreadable:
                sample['data_samples'].set_metainfo(dict(unreadable=unreadable))
            return sample
        names = '\n'.join(f'  {path}: {reason}' for path, reason in unreadable.items())
        raise OSError(f'{MAX_TRIES} draws in a row from {self.data_root} cannot be read:\n{names}')
