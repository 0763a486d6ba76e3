"""Class ids in masks, and the labels of the model that they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lomar.datasets.class_names import unknown_classes

IGNORED = 255  # label of pixels that count neither in mmseg's losses nor in the evaluation
UNKNOWN = -1  # in tables of labels: an id that no class has
MOST = 255  # classes: masks of labels have 8 bits, and 255 is `IGNORED`
LARGEST = 2**16 - 1


@dataclass(frozen=True)
class MaskIds:
    """The meaning of the values in mask files.

    Attributes:
        classes: class names in the order of their ids, which begin at 0.
        ignore_index: id of pixels that are ignored.
        reduce_zero_label: whether 0 is ignored, too, and ids begin at 1, as in ADE20K.

    Raises:
        ValueError: there are not 2 to 255 different names, or an ignored id is a class.
    """

    classes: tuple[str, ...]
    ignore_index: int = IGNORED
    reduce_zero_label: bool = False

    def __post_init__(self):
        if not self.classes:
            raise ValueError(
                'the ids in masks have no names; name the classes in the order of their ids, such '
                'as --classes background road car, or a file with a name per line'
            )
        if not 2 <= len(self.classes) <= MOST or len(set(self.classes)) < len(self.classes):
            raise ValueError(
                f'there are {len(self.classes)} classes, {len(set(self.classes))} of them '
                f'different; allowed: 2 to {MOST} different names, that of the background, too'
            )
        index = self.ignore_index
        if type(index) is not int or not 0 <= index <= LARGEST:
            raise ValueError(f'ignore_index is {index!r}; allowed: 0 to {LARGEST}')
        if index in self.ids:
            name = self.classes[self.ids.index(index)]
            raise ValueError(
                f"ignore_index is {index}, which is the id of the class '{name}'; allowed: an id "
                'of no class (reduce_zero_label ignores the id 0 and begins with the id 1)'
            )

    @property
    def ids(self) -> range:
        """Return the ids of the classes, in the order of `classes`."""
        return range(self.reduce_zero_label, len(self.classes) + self.reduce_zero_label)

    @property
    def allowed(self) -> str:
        """Return the allowed ids as text."""
        zero = ', 0 (ignored)' if self.reduce_zero_label else ''
        return f'{self.ids[0]} to {self.ids[-1]}{zero} and {self.ignore_index} (ignored)'

    def labels(self, model_classes: Sequence[str] = ()) -> np.ndarray:
        """Return the label of the model by id: (65536,) int16, `IGNORED` or `UNKNOWN` for others.

        Args:
            model_classes: classes of the model in the order of its labels (default: `classes`).

        Raises:
            ValueError: the model does not know a class.
        """
        known = list(model_classes) or list(self.classes)
        if problem := unknown_classes(self.classes, known):
            raise ValueError(f'Masks: {problem}')
        table = np.full(LARGEST + 1, UNKNOWN, np.int16)
        if self.reduce_zero_label:
            table[0] = IGNORED
        table[self.ignore_index] = IGNORED
        table[self.ids[0] : self.ids[-1] + 1] = [known.index(name) for name in self.classes]
        return table


def read_classes(names: Sequence[str] | None) -> list[str] | None:
    """Return the names of `--classes`; one name of an existing file stands for its lines.

    Raises:
        ValueError: the file has an empty line or no text.
    """
    if not names:
        return None
    file = Path(names[0]).expanduser()
    if len(names) > 1 or not file.is_file():
        return list(names)
    try:
        lines = file.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'--classes {file} is no text: {error}') from None
    found = [line.strip() for line in lines]
    while found and not found[-1]:
        found.pop()
    if not all(found) or not found:
        raise ValueError(f'--classes {file} has an empty line; allowed: one class name per line')
    return found
