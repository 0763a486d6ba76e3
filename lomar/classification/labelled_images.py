"""Dataset of labelled images in class folders or in a text list."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.registry import DATASETS

from lomar.datasets.class_folders import list_classes
from lomar.datasets.class_names import defined_classes, label_table
from lomar.datasets.config_classes import given_classes
from lomar.datasets.text_lists import Line, existing, list_error, read_lines
from lomar.datasets.unlabelled import UnlabelledImages

LAYOUT = """\
Allowed is a folder with a folder of images for each class, at any depth below it:
    data/imagenet/train/n01440764/n01440764_10026.JPEG
or a text file with an image path and a class per line."""
FORM = """\
Allowed in a list of labelled images: an image path and a class per line, separated by one tab or by
the last space, such as
    cats/0001.jpg<tab>tabby cat"""


def read_labelled(root: str | Path, arrays: bool = True) -> tuple[list[str], list[tuple[str, str]]]:
    """Return classes in alphabetical order, and (path, class) of every image.

    Args:
        arrays: whether `.npy` files in a folder count.
    """
    root = Path(root).expanduser()
    if root.is_file():
        pairs = _read_list(root)
        return sorted({name for _, name in pairs}), pairs
    try:
        classes, samples = list_classes(root, arrays)
    except FileNotFoundError as error:
        raise FileNotFoundError(f'Labelled images: {error}\n{LAYOUT}') from error
    return classes, [(path, classes[label]) for path, label in samples]


def _read_list(file: Path) -> list[tuple[str, str]]:
    """Return (path, class) of every line of a text list."""
    paths, classes = [], []
    first: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(file, FORM):
        parts = line.split('\t') if '\t' in line else line.rsplit(' ', 1)
        if len(parts) != 2 or not all(map(str.strip, parts)):
            raise list_error(file, [(number, line)], FORM)
        path, name = map(str.strip, parts)
        known = first.setdefault(path, (number, name))
        if known[1] != name:
            what = f'{path} has the class {name}, and {known[1]} in line {known[0]}'
            raise list_error(file, [(number, what)], FORM)
        paths.append(Line(number, path))
        classes.append(name)
    if not paths:
        raise ValueError(f'Labelled images: {file} is empty.\n{FORM}')
    return list(zip(existing(file, paths, FORM), classes, strict=True))


@DATASETS.register_module()
class LabelledImages(UnlabelledImages):
    """Dataset of the images in class folders or in a text list, with labels.

    Labels are indices of `model_classes`, otherwise of `metainfo['classes']`, otherwise of the
    classes that the images define, see `defined_classes`.

    Args:
        data_root: folder of class folders, or text list.
        pipeline: see `UnlabelledImages`.
        model_classes: classes of the model in the order of its labels.
    """

    def __init__(
        self, data_root: str, pipeline: list, model_classes: Sequence[str] | None = None, **kwargs
    ):
        self.model_classes = model_classes
        super().__init__(data_root, pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict with `img_path` and `gt_label` per image."""
        root = self.data_root
        found, pairs = read_labelled(root, self.arrays)
        is_list = Path(root).expanduser().is_file()
        classes = self.model_classes or given_classes(dict(metainfo=self._metainfo))
        classes = classes or defined_classes(root, found, is_list)
        label = label_table(root, found, classes, is_list)
        self._metainfo['classes'] = tuple(classes)
        return [dict(img_path=path, gt_label=label[name]) for path, name in pairs]

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the label of an image in a list, for mmengine's `ClassBalancedDataset`."""
        return [int(self.get_data_info(idx)['gt_label'])]
