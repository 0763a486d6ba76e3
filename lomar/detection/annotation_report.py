"""Report on a COCO annotation file: findings with file and entry, and objects to train on."""

import logging
import os
import pickle
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mmengine.logging import print_log

from lomar.detection.coco import short

EXAMPLES = 3  # of each kind of finding
PACKED = ('category_id', 'bbox', 'iscrowd', 'segmentation')
_kept: dict[tuple, 'AnnotationReport'] = {}


class Findings:
    """Findings in a file: the first entries of each kind, and the number of the others.

    Args:
        file: beginning of every line; '' if the entries name their files.
        examples: number of entries of each kind to keep.
    """

    def __init__(self, file: str = '', examples: int = EXAMPLES):
        self.start, self.examples = f'{file}: ' if file else '', examples
        self.kinds: dict[str, list] = {}
        self.loud: set[str] = set()

    def add(self, where: str, kind: str, detail: object = '', loud: bool = False) -> None:
        """Add the entry `where` to a kind of finding; the detail may differ between entries.

        Args:
            loud: whether the kind is logged as a warning, which `--quiet` shows.
        """
        examples = self.kinds.setdefault(kind, [0, []])
        examples[0] += 1
        if examples[0] <= self.examples:
            examples[1].append(f'{self.start}{where}: {kind}{short(detail)}')
        if loud:
            self.loud.add(kind)

    def lines(self) -> list[str]:
        """Return a line per example, and one for the rest of its kind; loud kinds are first."""
        lines: list[str] = []
        for kind, (count, examples) in self._loud_first():
            lines += examples
            if count > self.examples:
                lines.append(f'{self.start}and {count - self.examples} more: {kind.rstrip(" :,;")}')
        return lines

    def log(self) -> None:
        """Log a line per kind, its first example and the number of the others."""
        for kind, (count, examples) in self._loud_first():
            more = f' (and {count - 1} more)' if count > 1 else ''
            level = logging.WARNING if kind in self.loud else logging.INFO
            print_log(f'{examples[0]}{more}', logger='current', level=level)

    def _loud_first(self) -> list[tuple[str, list]]:
        return sorted(self.kinds.items(), key=lambda one: one[0] not in self.loud)


@dataclass
class AnnotationReport:
    """Result of `check_coco`: findings, and the objects to train on or to evaluate.

    Attributes:
        ann_file, image_folder, masks, classes, model_classes, training: arguments of `check_coco`.
        annotations: number of annotations in the file.
        names: classes of the file in the order of category id.
        listed: classes of the file in the order of its list.
        model_names: classes of the model in the order of the labels.
        categories: name by category id of the classes that are used, in the order of the labels.
        unknown: name by category id of the classes that the model does not know.
        images: file_name, width and height by image id; None for an image that is wrong.
        objects: by image id, the annotations to use, see `unpacked`.
        images_of: by category id, the ids of the images with an object that is no crowd.
        left_out: number of annotations by the reason for which they are no objects.
        crowds: number of ignored regions by category id.
        maskless: number of objects without a mask in a file to evaluate masks on.
        no_ap: why a file to evaluate has no objects, or ''.
    """

    ann_file: str
    image_folder: str
    masks: bool
    classes: Sequence[str] | None
    model_classes: Sequence[str] | None = None
    training: bool = True
    annotations: int = 0
    names: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    model_names: tuple[str, ...] = ()
    categories: dict[int, str] = field(default_factory=dict)
    unknown: dict[int, str] = field(default_factory=dict)
    images: dict = field(default_factory=dict)
    objects: dict = field(default_factory=dict)
    images_of: dict[int, set] = field(default_factory=dict)
    left_out: Counter = field(default_factory=Counter)
    crowds: Counter = field(default_factory=Counter)
    maskless: int = 0
    no_ap: str = ''

    def __post_init__(self):
        self.errors, self.notes = Findings(self.ann_file), Findings(self.ann_file)
        self._counts: Counter = Counter()

    @property
    def to_predict(self) -> bool:
        """Return whether the file has no annotations, which alone need the sizes of images."""
        return not self.training and not self.annotations

    def add(self, one: dict) -> None:
        """Add an annotation to use, as bytes: a fifth of the memory of Python's objects."""
        image_id, category_id = one['image_id'], one['category_id']
        maskless = self.masks and 'segmentation' not in one
        if maskless:  # mmdet ignores an object without a polygon, and requires the key
            one = {**one, 'segmentation': [[]]}
        values = [one.get(key) for key in PACKED]
        self.objects.setdefault(image_id, []).append(pickle.dumps(values))
        if one['iscrowd']:
            self.crowds[category_id] += 1
        else:
            self._counts[category_id] += 1
            self.maskless += maskless
            self.images_of.setdefault(category_id, set()).add(image_id)

    def instances(self) -> dict[str, int]:
        """Return the number of objects of each class, without ignored regions."""
        return {name: self._counts[key] for key, name in self.categories.items()}


def unpacked(packed: bytes) -> dict:
    """Return an annotation to use: category_id, bbox, iscrowd, segmentation or None."""
    return dict(zip(PACKED, pickle.loads(packed), strict=True))


def stop_on_errors(reports: Iterable[AnnotationReport], strict: bool = False) -> None:
    """Raise one ValueError with all errors of all reports, if there is one.

    Args:
        strict: whether notes are errors, too.
    """
    reports = list(reports)
    lines = [line for report in reports for line in report.errors.lines()]
    if lines:
        raise ValueError('\n'.join(('The annotations cannot be used:', *lines)))
    lines = [line for report in reports for line in report.notes.lines()]
    if lines and strict:
        raise ValueError('\n'.join(('The annotations have notes, and --strict is given:', *lines)))


def keep_for_datasets(reports: Iterable[AnnotationReport]) -> None:
    """Store the reports without errors for `take_report`; earlier reports are discarded."""
    _kept.clear()
    for one in reports:
        if not one.errors.kinds:
            files = one.ann_file, one.image_folder, one.masks
            _kept[_key(*files, one.training, one.classes, one.model_classes)] = one


def take_report(
    ann_file: str,
    image_folder: str,
    masks: bool,
    classes: Sequence[str] | None,
    model_classes: Sequence[str] | None,
    training: bool,
) -> AnnotationReport | None:
    """Return and remove the stored report for these arguments of `check_coco`, or None."""
    names = classes, model_classes
    return _kept.pop(_key(ann_file, image_folder, masks, training, *names), None)


def _key(
    ann_file: str, image_folder: str, masks: bool, training: bool, *names: Sequence[str] | None
) -> tuple:
    """Return a key for arguments and file; the key changes if the file is written again."""
    status = os.stat(ann_file) if os.path.exists(ann_file) else None
    written = status and (status.st_size, status.st_mtime_ns)
    chosen = tuple(None if one is None else tuple(one) for one in names)
    folder = os.path.abspath(image_folder)
    return os.path.abspath(ann_file), written, folder, masks, training, chosen
