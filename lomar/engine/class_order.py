"""Classes that a model has learnt and classes that a dataset has: one order of labels."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lomar.checkpoints.class_names import trained_classes
from lomar.compat.dist import main_process
from lomar.datasets.class_names import enumerated


def classes_to_test(checkpoint: str, optional: bool = False) -> tuple[str, ...] | None:
    """Return the classes of a checkpoint to test; () if it has no names.

    Args:
        optional: whether None is returned for a file or folder that does not exist.
    """
    if optional and not Path(checkpoint).expanduser().exists():
        return None
    return main_process.share(lambda: trained_classes(checkpoint), 'reading of the checkpoint')


def classes_of(dataset: object) -> tuple[str, ...]:
    """Return the classes of a dataset in the order of its labels; () without any.

    Raises:
        ValueError: the parts of a combined dataset have different classes.
    """
    metainfo = getattr(dataset, 'metainfo', {})
    # mmdet's ConcatDataset has a list if its parts differ, also in other values than the classes.
    parts = metainfo if isinstance(metainfo, list) else [metainfo]
    listed = [part.get('classes') or () for part in parts]
    found = dict.fromkeys((one,) if isinstance(one, str) else tuple(one) for one in listed)
    if len(found) > 1:
        raise ValueError(
            f'{type(dataset).__name__} combines datasets of different classes: '
            f'{"; ".join(map(enumerated, found))}; allowed: the same names in the same order'
        )
    return next(iter(found), ())


def check_order(learnt: Sequence[str], dataset: object) -> None:
    """Raise a ValueError if the labels of a dataset mean other classes than those of the model.

    Commands map labels by name before. This check covers datasets of other packages, and runs that
    no command has started.

    Args:
        learnt: classes of the model in the order of its labels; () if they are unknown.
        dataset: the dataset to evaluate; its `metainfo` may have no classes.
    """
    classes = classes_of(dataset)
    if learnt and classes != tuple(learnt)[: len(classes)]:
        raise ValueError(
            f'training was on the classes {enumerated(learnt)}; the dataset to evaluate has '
            f'{enumerated(classes)}; allowed: the same names in the same order'
        )


def reordered(learnt: Sequence[str], dataset: object) -> str:
    """Return a message if a training begins with weights for classes in another order, or ''."""
    classes = classes_of(dataset)
    known = [(learnt.index(name), label) for label, name in enumerate(classes) if name in learnt]
    if len(learnt) != len(classes) or all(before == label for before, label in known):
        return ''
    return (
        f'its classes are {enumerated(learnt)}, those of this training are {enumerated(classes)}: '
        'the loaded heads start with the weights of other classes; '
        'train_dataloader.dataset.metainfo.classes sets the order'
    )


@contextmanager
def advising_on_classes(learnt: Sequence[str]) -> Iterator[None]:
    """Add advice to the error of heads that do not fit weights without class names, `learnt`."""
    try:
        yield
    except ValueError as error:
        if learnt or not re.search(r'size mismatch for \S*head', str(error)):
            raise
        raise ValueError(
            f'{error}\n    The checkpoint has no class names. Name all its classes in the order of '
            'its labels: --cfg-options test_dataloader.dataset.metainfo.classes=[...]'
        ) from error
