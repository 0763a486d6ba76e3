"""Report on a COCO annotation file: findings with file and entry, and objects to train on."""

import os
import pickle
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lomar.detection.coco import short

EXAMPLES = 3  # of each kind of finding
PACKED = ('category_id', 'bbox', 'iscrowd', 'segmentation')
_kept: dict[tuple, 'AnnotationReport'] = {}


class Findings:
    """Findings in a file: the first entries of each kind, and the number of the others."""

    def __init__(self, file: str):
        self.file = file
        self.kinds: dict[str, list] = {}

    def add(self, where: str, kind: str, detail: object = '') -> None:
        """Add the entry `where` to a kind of finding; the detail may differ between entries."""
        examples = self.kinds.setdefault(kind, [0, []])
        examples[0] += 1
        if examples[0] <= EXAMPLES:
            examples[1].append(f'{self.file}: {where}: {kind}{short(detail)}')

    def lines(self) -> list[str]:
        """Return a line per example, and one for the rest of its kind."""
        lines = []
        for kind, (count, examples) in self.kinds.items():
            lines += examples
            if count > EXAMPLES:
                lines.append(f'{self.file}: and {count - EXAMPLES} more: {kind}')
        return lines


@dataclass
class AnnotationReport:
    """Result of `check_coco`: findings, and the objects to train on.

    Attributes:
        ann_file, image_folder, masks, classes, model_classes: arguments of `check_coco`.
        annotations: number of annotations in the file.
        names: classes of the file in the order of category id.
        model_names: classes of the model in the order of the labels.
        categories: name by category id of the classes that are used, in the order of the labels.
        unknown: name by category id of the classes that the model does not know.
        images: file_name, width and height by image id; None for an image that is wrong.
        objects: by image id, the annotations to train on, see `unpacked`.
        images_of: by category id, the ids of the images with an object that is no crowd.
    """

    ann_file: str
    image_folder: str
    masks: bool
    classes: Sequence[str] | None
    model_classes: Sequence[str] | None = None
    annotations: int = 0
    names: tuple[str, ...] = ()
    model_names: tuple[str, ...] = ()
    categories: dict[int, str] = field(default_factory=dict)
    unknown: dict[int, str] = field(default_factory=dict)
    images: dict = field(default_factory=dict)
    objects: dict = field(default_factory=dict)
    images_of: dict[int, set] = field(default_factory=dict)

    def __post_init__(self):
        self.errors, self.notes = Findings(self.ann_file), Findings(self.ann_file)
        self._counts: Counter = Counter()

    def add(self, one: dict) -> None:
        """Add an annotation to train on, as bytes: a fifth of the memory of Python's objects."""
        image_id, category_id = one['image_id'], one['category_id']
        values = [one.get(key) for key in PACKED]
        self.objects.setdefault(image_id, []).append(pickle.dumps(values))
        if not one['iscrowd']:
            self._counts[category_id] += 1
            self.images_of.setdefault(category_id, set()).add(image_id)

    def instances(self) -> dict[str, int]:
        """Return the number of objects of each class, without ignored regions."""
        return {name: self._counts[key] for key, name in self.categories.items()}


def unpacked(packed: bytes) -> dict:
    """Return an annotation to train on: category_id, bbox, iscrowd, segmentation or None."""
    return dict(zip(PACKED, pickle.loads(packed), strict=True))


def stop_on_errors(reports: Iterable[AnnotationReport]) -> None:
    """Raise one ValueError with all errors of all reports, if there is one."""
    lines = [line for report in reports for line in report.errors.lines()]
    if lines:
        raise ValueError('\n'.join(('The annotations cannot be trained on:', *lines)))


def keep_for_datasets(reports: Iterable[AnnotationReport]) -> None:
    """Store the reports without errors for `take_report`; earlier reports are discarded."""
    _kept.clear()
    for one in reports:
        if not one.errors.kinds:
            names = one.classes, one.model_classes
            _kept[_key(one.ann_file, one.image_folder, one.masks, *names)] = one


def take_report(
    ann_file: str,
    image_folder: str,
    masks: bool,
    classes: Sequence[str] | None,
    model_classes: Sequence[str] | None,
) -> AnnotationReport | None:
    """Return and remove the stored report for these arguments of `check_coco`, or None."""
    return _kept.pop(_key(ann_file, image_folder, masks, classes, model_classes), None)


def _key(ann_file: str, image_folder: str, masks: bool, *names: Sequence[str] | None) -> tuple:
    """Return a key for arguments and file; the key changes if the file is written again."""
    status = os.stat(ann_file) if os.path.exists(ann_file) else None
    written = status and (status.st_size, status.st_mtime_ns)
    chosen = tuple(None if one is None else tuple(one) for one in names)
    return os.path.abspath(ann_file), written, os.path.abspath(image_folder), masks, chosen
