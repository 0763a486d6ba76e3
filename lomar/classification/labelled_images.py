"""Dataset of labelled images in class folders or in a text list."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DATASETS

from lomar.checkpoints import load_file
from lomar.datasets.class_folders import list_classes
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

    Labels are indices of the classes in alphabetical order, or in the order of
    `metainfo['classes']`. In testing, an unreadable image raises `UnreadableImage` instead of being
    replaced.
    """

    def load_data_list(self) -> list[dict]:
        """Return one dict with `img_path` and `gt_label` per image."""
        found, pairs = read_labelled(self.data_root, self.arrays)
        classes = list(self._metainfo.get('classes') or found)
        check_classes(self.data_root, found, classes)
        self._metainfo['classes'] = tuple(classes)
        label = {name: number for number, name in enumerate(classes)}
        return [dict(img_path=path, gt_label=label[name]) for path, name in pairs]


def check_classes(root: str | Path, found: Sequence[str], classes: Sequence[str]) -> None:
    """Raise a ValueError if `root` has classes that are not in `classes`."""
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise ValueError(
            f'Labelled images: {root} has {len(unknown)} classes that the model is not trained '
            f'for, such as {unknown[:3]}; it knows {len(classes)}, such as {list(classes)[:3]}'
        )


def use_folders(
    cfg: Config, train: str | None = None, val: str | None = None, checkpoint: str | None = None
) -> None:
    """Set a user's labelled images in a config; validation images are also used for testing.

    Classes are read from `train`, or from the checkpoint to test.
    """
    classes = read_labelled(train)[0] if train else None
    if checkpoint and val:
        meta = load_file(checkpoint).get('meta', {}).get('dataset_meta') or {}
        classes = meta.get('classes') or read_labelled(val)[0]
    for split, root in dict(train=train, val=val, test=val).items():
        loader = cfg.get(f'{split}_dataloader')
        if loader and root:
            loader.dataset.data_root = root
        if loader and classes:
            loader.dataset.metainfo = dict(classes=list(classes))
    if classes:
        # The preprocessor's number of classes determines the targets of Mixup and CutMix.
        cfg.model.head.num_classes = cfg.model.data_preprocessor.num_classes = len(classes)


def check_folders(cfg: Config, splits: Sequence[str]) -> None:
    """Check that datasets and model agree in their classes before anything is built."""
    classes = None
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        if not loader:
            continue
        root = loader.dataset.data_root
        found, _ = read_labelled(root)
        classes = classes or (loader.dataset.get('metainfo') or {}).get('classes') or found
        check_classes(root, found, classes)
        number = cfg.model.head.num_classes
        if len(classes) != number:
            raise ValueError(
                f'model.head.num_classes is {number}, and there are {len(classes)} classes in '
                f'{root}; name your images with --train-images and --val-images, and the number '
                'follows'
            )
        loader.dataset.metainfo = dict(classes=list(classes))
