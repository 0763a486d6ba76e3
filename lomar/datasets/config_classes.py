"""Classes in a config: those that it names, and those of the model for all datasets and heads.

In a dataset node, `metainfo.classes` are the names that a user gives. `model_classes` are the
model's, in the order of its labels. Commands write them at every start.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

from mmengine.config import Config, ConfigDict
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from lomar.datasets.class_names import as_names, enumerated
from lomar.utils import dicts_in, type_name

SPLITS = ('train', 'val', 'test')
# Parts of a model whose `num_classes` is not that of the dataset: an RPN separates objects from
# background, and a semantic head has COCO's stuff.
OTHER_PARTS = ('backbone', 'neck', 'rpn_head', 'semantic_head')


def datasets_of(cfg: Config, split: str, kind: type) -> list[ConfigDict]:
    """Return the datasets of a type in a split, also inside of dataset wrappers."""
    loader = dicts_in(cfg.get(f'{split}_dataloader'))
    return [node for node in loader if type_name(node) == kind.__name__]


def datasets_to_set(cfg: Config, split: str, kind: type, **flags: str | None) -> list[ConfigDict]:
    """Return the datasets of a type in a split, whose files the flags of a command name.

    Args:
        flags: value of each flag, such as ann='a.json' of --train-ann; None = not given.

    Raises:
        ValueError: a flag is given, and the split has no such dataset, or several.
    """
    found = datasets_of(cfg, split, kind)
    given = [name for name, value in flags.items() if value]
    if given and cfg.get(f'{split}_dataloader') and len(found) != 1:
        flag = f'--{"train" if split == "train" else "val"}-{given[0]}'
        if not found:
            raise ValueError(
                f'{flag} needs a dataset of type {kind.__name__} in {split}_dataloader'
            )
        raise ValueError(
            f'{flag} names the files of one dataset, and {split}_dataloader combines {len(found)}; '
            'allowed: one dataset, or the files of each dataset in the config'
        )
    return found


def given_classes(dataset: ConfigDict) -> tuple[str, ...] | None:
    """Return the names in `metainfo.classes` of a dataset, or None.

    Raises:
        ValueError: they are no list of different names.
    """
    metainfo = dataset.get('metainfo') or {}
    if not isinstance(metainfo, dict):
        raise ValueError(f'metainfo of a dataset is {metainfo!r}; allowed: a dict with classes')
    if metainfo.get('classes') is None:
        return None
    # mmengine reads a text as the name of a file with a class per line.
    return as_names('metainfo.classes', BaseDataset._load_metainfo(metainfo)['classes'])


def given_in(cfg: Config, split: str, kind: type) -> tuple[str, ...] | None:
    """Return the first `given_classes` of the datasets in a split, or None."""
    given = (given_classes(dataset) for dataset in datasets_of(cfg, split, kind))
    return next((names for names in given if names), None)


def class_heads(cfg: Config) -> list[ConfigDict]:
    """Return the parts of the model whose `num_classes` is the number of the dataset's classes."""
    return [part for part in _class_parts(cfg.model) if 'num_classes' in part]


def wrong_counts(cfg: Config, number: int) -> list[str]:
    """Return the settings of the model that are for another number of classes."""
    wrong = []
    for part in _class_parts(cfg.model):
        for key in ('num_classes', 'num_things_classes'):
            if part.get(key, number) != number:
                wrong.append(f'{key}={part[key]} in {part.get("type")}')
        weights = part.get('class_weight')
        if isinstance(weights, list | tuple) and len(weights) not in (number, number + 1):
            wrong.append(f'{len(weights)} numbers in class_weight of {part.get("type")}')
    return wrong


def set_model_classes(cfg: Config, kind: type, classes: Sequence[str]) -> None:
    """Set the classes of the model in all datasets of a type."""
    for split in SPLITS:
        for dataset in datasets_of(cfg, split, kind):
            dataset.model_classes = list(classes)


def set_head_classes(cfg: Config, classes: Sequence[str]) -> None:
    """Set the number of classes of all heads.

    A head with `num_things_classes` may weigh classes in its loss. Weights that are equal for all
    classes but the background are set for the new number, too.
    """
    number = len(classes)
    for head in class_heads(cfg):
        head.num_classes = number
    for head in _class_parts(cfg.model):
        if 'num_things_classes' in head:
            loss: dict = head.get('loss_cls') or {}
            *weights, background = loss.get('class_weight') or [None]
            if len(weights) == head.num_things_classes and len(set(weights)) == 1:
                loss['class_weight'] = [*weights[:1] * number, background]
            head.num_things_classes = number


def clear_model_classes(cfg: Config, kind: type) -> None:
    """Remove the classes that an earlier run has written into its config."""
    for split in SPLITS:
        for dataset in datasets_of(cfg, split, kind):
            dataset.pop('model_classes', None)


def classes_of_unnamed(
    cfg: Config, kind: type, define: Callable[[ConfigDict], Sequence[str]]
) -> Sequence[str]:
    """Return the classes of a checkpoint to test that stores no names; log their origin.

    They are those that the config gives, otherwise those of its training data if these are there,
    otherwise those of the tested data. Loading the weights compares their number.

    Args:
        define: returns the classes that the data of a dataset node define.
    """
    for split in ('test', 'train'):
        if classes := given_in(cfg, split, kind):
            return _noted(f'{split}_dataloader.dataset.metainfo', classes)
    for dataset in datasets_of(cfg, 'train', kind)[:1]:
        with contextlib.suppress(FileNotFoundError):
            return _noted('the data of train_dataloader', define(dataset))
    for dataset in datasets_of(cfg, 'test', kind)[:1]:
        return _noted('the data of test_dataloader', define(dataset))
    return ()


def _noted(origin: str, classes: Sequence[str]) -> Sequence[str]:
    text = 'The checkpoint has no class names; its labels are taken as the classes of'
    print_log(f'{text} {origin}, {enumerated(classes)}', logger='current')
    return classes


def _class_parts(node: object) -> Iterator[ConfigDict]:
    """Yield the dicts of a model except those in `OTHER_PARTS`."""
    if isinstance(node, dict):
        yield node
        node = [value for key, value in node.items() if key not in OTHER_PARTS]
    for child in node if isinstance(node, list | tuple) else ():
        yield from _class_parts(child)
