"""Dataset of unlabelled images in a folder tree, in a list of files or in tar shards."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from mmengine.registry import DATASETS

from lomar.datasets.folder_walk import ARRAYS, SUFFIXES, FolderWalk, log_left_out, summary
from lomar.datasets.readable import ReadableImages
from lomar.datasets.shards import is_shards, list_shards, shard_images
from lomar.datasets.text_lists import EXAMPLES, existing, is_list, list_error, read_lines

FORM = 'Allowed in a list of images: one path per line, without labels.'
LAYOUT = """\
Allowed: a folder that contains JPEG, PNG, WebP, TIFF or BMP images at any depth (and .npy arrays,
for loaders that keep the numbers of a file: docs/data.md):
    data/imagenet/train/n01440764/n01440764_10026.JPEG     (labels are not used)
or a text file with one image path per line, relative to the text file's folder or absolute;
or tar shards: 'shards/{000..127}.tar' in quotes, or a folder of tar files.
Give your own images with --train-images DIR, or make the embedded dataset (takes a minute):
    lomar shapes --out data/shapes
    lomar train shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes"""

FOLDER = 'Allowed: a folder that contains JPEG, PNG, WebP, TIFF or BMP images at any depth'
FILES = f'{FOLDER}, or a text list with one image path per line.'


def list_images(
    root: str | Path, arrays: bool = False, shards: bool = True, advice: str = LAYOUT
) -> list[str]:
    """Return the paths of the images in a folder, in a text list, or in tar shards.

    Paths in a folder, see `FolderWalk`, are sorted, and those of a list have its order. Images in
    shards are in the order of `shard_images`, and each is a `ShardImage`. A folder has shards if it
    has tar files and no images.

    Args:
        arrays: whether `.npy` files in a folder or in shards count.
        shards: False = images in shards are refused, because the caller needs files.
        advice: what the user is to give instead of a path without images; by default the images
            of a training. `FILES` is for commands that read any images.

    Raises:
        FileNotFoundError: the folder, list or shards do not exist, or have no images.
        ValueError: the file is not a list, files in it do not exist, or a shard cannot be used.
    """
    tars: list[str] = []
    paths: Sequence[str]
    if is_shards(root):
        tars = list_shards(root)
        paths, left_out = shard_images(tars, arrays)
    elif (root := Path(root).expanduser()).is_file():
        paths, left_out = _listed(root), {}
    elif root.is_dir():
        walk = FolderWalk(root, arrays)
        paths, left_out = sorted(walk), walk.left_out
        if not paths and (tars := sorted(filter(is_shards, chain(*left_out.values())))):
            paths, left_out = shard_images(tars, arrays)
    else:
        raise FileNotFoundError(f'Images: {root} does not exist.{_after(advice)}')
    if tars and not shards:
        raise ValueError(f'{root}: images in tar shards; allowed: image files')
    if not paths:
        found = f' (not counted: {summary(left_out)})' if left_out else ''
        raise FileNotFoundError(f'Images: there are none in {root}{found}.{_after(advice)}')
    log_left_out(root, left_out)
    return [*paths]


def _after(advice: str) -> str:
    return f'\n{advice}' if '\n' in advice else f' {advice}'


def _listed(file: Path) -> list[str]:
    """Return the paths of a text list; shards in it are refused."""
    lines = read_lines(file, FORM)
    if tars := [(number, text) for number, text in lines if is_shards(text)]:
        form = "Give shards by a pattern in quotes: 'shards/{000..127}.tar' or 'shards/*.tar'."
        raise list_error(file, tars[:EXAMPLES], form, len(tars), len(lines))
    return existing(file, lines, FORM)


def holds_images(path: str) -> bool:
    """Return whether a path is that of shards, or an existing folder or text list of images.

    A file is a text list if it ends in .txt, or is text and does not end as an image does.
    """
    if is_shards(path):
        return True
    suffix = Path(path).suffix.lower()
    is_image = suffix in SUFFIXES | ARRAYS and Path(path).is_file()
    return not is_image and (Path(path).is_dir() or suffix == '.txt' or is_list(path))


def check_images(root: str | Path, advice: str = LAYOUT) -> None:
    """Raise the errors of `list_images` for a list, shards, and a folder without images."""
    folder = Path(root).expanduser()
    is_folder = folder.is_dir() and not is_shards(root)
    if not is_folder or next(iter(FolderWalk(folder, arrays=True)), None) is None:
        list_images(root, arrays=True, advice=advice)


@DATASETS.register_module()
class UnlabelledImages(ReadableImages):
    """Dataset of the images in a folder tree, in a text list or in tar shards, without labels.

    Args:
        data_root: folder, text file with one path per line, or name or pattern of tar files.
        pipeline: transforms; the first one raises `UnreadableImage`.
        kwargs: arguments of `ReadableImages` and mmengine's `BaseDataset`.
    """

    def __init__(self, data_root: str, pipeline: list, **kwargs):
        super().__init__(data_root=data_root, data_prefix={}, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict with `img_path` per image."""
        return [dict(img_path=path) for path in list_images(self.data_root, self.arrays)]
