"""Classes that a model has learnt and classes that a dataset has: one order of labels."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lomar.datasets.class_names import enumerated


def check_order(learnt: Sequence[str], dataset: object, what: str) -> None:
    """Raise a ValueError if the labels of a dataset mean other classes than those of the model.

    Commands map labels by name before. This check covers datasets of other packages, and runs that
    no command has started.

    Args:
        learnt: classes of the model in the order of its labels; () if they are unknown.
        dataset: the dataset to evaluate; its `metainfo` may have no classes.
        what: where `learnt` come from, for the message.
    """
    classes = list(getattr(dataset, 'metainfo', {}).get('classes') or ())
    if learnt and classes != list(learnt)[: len(classes)]:
        raise ValueError(
            f'{what} was on the classes {enumerated(learnt)}; the dataset to evaluate has '
            f'{enumerated(classes)}; allowed: the same names in the same order'
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
