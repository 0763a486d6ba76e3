"""Dataset of unlabelled images in a folder tree or in a list of files."""

from pathlib import Path

from mmengine.registry import DATASETS

from lomar.datasets.folder_walk import ARRAYS, SUFFIXES, FolderWalk, log_left_out, summary
from lomar.datasets.readable import ReadableImages
from lomar.datasets.text_lists import existing, is_list, read_lines

FORM = 'Allowed in a list of images: one path per line, without labels.'
LAYOUT = """\
Allowed: a folder that contains JPEG, PNG, WebP, TIFF or BMP images at any depth (and .npy arrays,
for loaders that keep the numbers of a file: docs/channels.md):
    data/imagenet/train/n01440764/n01440764_10026.JPEG     (labels are not used)
or a text file with one image path per line, relative to the text file's folder or absolute.
Give your own images with --train-images DIR, or make the embedded dataset (takes a minute):
    lomar shapes --out data/shapes
    lomar train shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes"""


def list_images(root: str | Path, arrays: bool = False) -> list[str]:
    """Return the sorted paths of the images in a folder, see `FolderWalk`, or in a text list.

    Args:
        arrays: whether `.npy` files in a folder count.

    Raises:
        FileNotFoundError: the folder or list does not exist, or has no images.
        ValueError: the file is not a list, or files in it do not exist.
    """
    root = Path(root).expanduser()
    if root.is_file():
        paths, left_out = sorted(existing(root, read_lines(root, FORM), FORM)), {}
    elif root.is_dir():
        walk = FolderWalk(root, arrays)
        paths, left_out = sorted(walk), walk.left_out
    else:
        raise FileNotFoundError(f'Images: {root} does not exist.\n{LAYOUT}')
    if not paths:
        found = f' (not counted: {summary(left_out)})' if left_out else ''
        raise FileNotFoundError(f'Images: there are none in {root}{found}.\n{LAYOUT}')
    log_left_out(root, left_out)
    return paths


def holds_images(path: str) -> bool:
    """Return whether an existing path is a folder or a text list of images, and no image itself.

    A file is a text list if it ends in .txt, or is text and does not end as an image does.
    """
    suffix = Path(path).suffix.lower()
    is_image = suffix in SUFFIXES | ARRAYS and Path(path).is_file()
    return not is_image and (Path(path).is_dir() or suffix == '.txt' or is_list(path))


def check_images(root: str | Path) -> None:
    """Raise the errors of `list_images` for a text list, and for a folder without images."""
    root = Path(root).expanduser()
    if not root.is_dir() or next(iter(FolderWalk(root, arrays=True)), None) is None:
        list_images(root, arrays=True)


@DATASETS.register_module()
class UnlabelledImages(ReadableImages):
    """Dataset of the images in a folder tree or in a text list, without labels.

    Args:
        data_root: folder, or text file with one path per line.
        pipeline: transforms; the first one raises `UnreadableImage`.
        kwargs: arguments of `ReadableImages` and mmengine's `BaseDataset`.
    """

    def __init__(self, data_root: str, pipeline: list, **kwargs):
        super().__init__(data_root=data_root, data_prefix={}, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict with `img_path` per image."""
        return [dict(img_path=path) for path in list_images(self.data_root, self.arrays)]
