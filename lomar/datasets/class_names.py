"""Class names of configs and of labelled images, and the label of each name."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence

from mmengine.logging import print_log

SHOWN = 400  # characters of the names in a message

INTEGERS = (
    "integers in a text list are indices from 0 to N - 1 of the model's N classes; for labels that "
    'begin at 1, and for integers that are names, give all names in the order of the labels: '
    '--cfg-options "train_dataloader.dataset.metainfo.classes=[1,2,...]"'
)


def as_names(where: str, names: object) -> tuple[str, ...]:
    """Return the class names that a config lists; integers become text.

    Raises:
        ValueError: `names` is no list of different names; the message begins with `where`.
    """
    found = names if isinstance(names, list | tuple) else ()
    texts = tuple(str(name) for name in found if type(name) in (str, int))
    if not texts or len(set(texts)) < len(found):
        raise ValueError(
            f'{where} must be a list of different names, such as [cat,dog] or [cat], got {names!r}'
        )
    return texts


def enumerated(names: Collection[str]) -> str:
    """Return names for a message, the first of many: "2: ['cat', 'dog']"."""
    text = str(list(names))
    return f'{len(names)}: {text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."}'


def unknown_classes(found: Sequence[str], classes: Sequence[str]) -> str:
    """Return a message on the names in `found` that are not in `classes`; '' if all are known."""
    unknown = [name for name in found if name not in classes]
    if not unknown:
        return ''
    alike = {name.casefold().strip(): name for name in classes}
    near = {name: alike[key] for name in unknown if (key := name.casefold().strip()) in alike}
    hint = ''.join(f"; '{name}' is not the model's '{known}'" for name, known in near.items())
    return (
        f'{len(unknown)} classes that the model is not trained for, such as {unknown[:3]}{hint}; '
        f'the data have {enumerated(found)}; the model has {enumerated(classes)}'
    )


def defined_classes(source: object, texts: Collection[str], is_list: bool) -> list[str]:
    """Return the classes that labelled images define, in the order of their labels.

    Names are in alphabetical order. Integers in a list are indices: the classes are '0' to 'N - 1'.

    Args:
        source: file or folder, for messages.
        texts: labels of the images.
        is_list: whether they come from a text list; the names of class folders are no indices.

    Raises:
        ValueError: a list mixes integers and names, or an index below the largest one is missing.
    """
    if not (is_list and all_integers(source, texts)):
        return sorted(texts)
    indices = set(map(int, texts))
    wrong = sorted(indices ^ set(range(max(indices) + 1)))
    if wrong:
        raise ValueError(
            f'Labelled images: the integers in {source} are {min(indices)} to {max(indices)}, '
            f'which should be 0 to N - 1, each with an image; wrong: {wrong[:3]}; {INTEGERS}'
        )
    return [str(index) for index in sorted(indices)]


def label_table(
    source: object, texts: Collection[str], classes: Sequence[str], is_list: bool
) -> Mapping[str, int]:
    """Return the label in the model by the text of a label.

    A text is the class of that name. Integers in a list that name no class are indices of the
    classes. The arguments are those of `defined_classes`.

    Raises:
        ValueError: a name is unknown, or an index is outside of 0 to N - 1.
    """
    known = {name: label for label, name in enumerate(classes)}
    problem = unknown_classes(sorted(texts), classes)
    if not problem:
        if twice := [name for name in texts if classes.count(name) > 1]:
            raise ValueError(f'Labelled images: {source}: the model has {twice[:3]} more than once')
        return known
    if not is_list or not all_integers(source, texts) or known.keys() & texts:
        raise ValueError(f'Labelled images: {source}: {problem}')
    beyond = sorted(index for index in map(int, texts) if not 0 <= index < len(classes))
    if beyond:
        raise ValueError(
            f'Labelled images: {source} has the integer labels {beyond[:3]}; allowed: indices from '
            f'0 to {len(classes) - 1} of the classes of the model, {enumerated(classes)}'
        )
    if '0' not in texts:
        print_log(
            f'Labelled images: {source}: no image has the label 0. Integers are indices from 0 to '
            f'{len(classes) - 1}: subtract 1 from labels that begin at 1',
            logger='current',
            level=logging.WARNING,
        )
    return {text: int(text) for text in texts}


def all_integers(source: object, texts: Collection[str]) -> bool:
    """Return whether all labels of a list are integers; raise a ValueError if only some are."""
    whole = sorted(text for text in texts if re.fullmatch('-?[0-9]+', text))
    others = sorted(set(texts) - set(whole))
    if any(re.fullmatch('-?0[0-9]+', text) for text in whole):
        return False  # '007' is a name
    if whole and others:
        raise ValueError(
            f'Labelled images: {source} has integers and names as labels, such as {whole[:3]} and '
            f'{others[:3]}; allowed: only one of the two; {INTEGERS}'
        )
    return bool(whole)
