"""Checks of masks before the first step: sizes, ids, and the classes that occur."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from lomar.datasets.unreadable import UnreadableImage
from lomar.datasets.upright_size import upright_size
from lomar.segmentation.mask_files import read_ids
from lomar.segmentation.mask_ids import IGNORED, UNKNOWN, MaskIds

EXAMPLES = 3  # of each kind of error
THREADS = 8  # Pillow decodes without Python's lock


@dataclass
class MaskReport:
    """Result of `check_pairs`.

    Attributes:
        pixels: number of pixels by label, (256,); `IGNORED` counts ignored ones.
        errors: lines with file and error, by kind.
    """

    pixels: np.ndarray = field(default_factory=lambda: np.zeros(256, np.int64))
    errors: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ignored(self) -> float:
        """Return the share of ignored pixels."""
        return float(self.pixels[IGNORED] / max(self.pixels.sum(), 1))

    def stop_on_errors(self) -> None:
        """Raise a ValueError with the first errors of each kind."""
        lines = []
        for kind, found in self.errors.items():
            lines += found[:EXAMPLES]
            if len(found) > EXAMPLES:
                lines.append(f'and {len(found) - EXAMPLES} more: {kind}')
        if lines:
            raise ValueError('\n'.join(('The masks cannot be used:', *lines)))


def check_pairs(
    pairs: Sequence[tuple[str, str]], ids: MaskIds, model_classes: Sequence[str]
) -> MaskReport:
    """Read all masks; return a report on their sizes and ids.

    Args:
        pairs: paths of images and masks.
        ids: meaning of the values in the masks.
        model_classes: classes of the model in the order of its labels.
    """
    report, table = MaskReport(), ids.labels(model_classes)
    with ThreadPoolExecutor(THREADS) as pool:
        for (_, mask), found in zip(
            pairs, pool.map(lambda pair: _check(*pair), pairs), strict=True
        ):
            if isinstance(found, tuple):
                kind, detail = found
                report.errors.setdefault(kind, []).append(f'{mask}: {kind}{detail}')
            else:
                _count(report, mask, found, table, ids)
    return report


def _check(image: str, mask: str) -> dict[int, int] | tuple[str, str]:
    """Return the number of pixels by id of a mask, or the kind and the detail of an error."""
    try:
        found = read_ids(mask)
    except UnreadableImage as error:
        return 'cannot be read as a mask', f': {error.reason}'
    try:
        (width, height), _ = upright_size(image)
    except Exception:  # decoders raise all sorts; the loader of images reports a damaged one
        height, width = found.shape
    if found.shape != (height, width):
        detail = f': {found.shape[1]} x {found.shape[0]}, {image} has {width} x {height} (upright)'
        return 'has another size than its image', detail
    if found.dtype == np.uint8:
        numbers = np.bincount(found.ravel(), minlength=256)
        return {int(one): int(numbers[one]) for one in np.flatnonzero(numbers)}
    values, counts = np.unique(found, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _count(
    report: MaskReport, mask: str, found: dict[int, int], table: np.ndarray, ids: MaskIds
) -> None:
    """Add the pixels of a mask to a report."""
    unknown = [one for one in found if not 0 <= one < len(table) or table[one] == UNKNOWN]
    if unknown:
        kind = 'has ids that no class has'
        detail = (
            f': {unknown[:5]}; allowed: {ids.allowed}, for the classes {list(ids.classes)[:10]}'
        )
        report.errors.setdefault(kind, []).append(f'{mask}: {kind}{detail}')
        return
    for one, number in found.items():
        report.pixels[table[one]] += number


def problem_of_classes(report: MaskReport, classes: Sequence[str]) -> tuple[str, bool]:
    """Return a message on classes without a pixel in the masks of a training ('' without any).

    The second result is whether nothing can be learnt, because only one class occurs.
    """
    there = report.pixels[: len(classes)] > 0
    missing = [name for name, found in zip(classes, there, strict=True) if not found]
    if not missing:
        return '', False
    ignored = f'; {report.ignored:.1%} of the pixels are ignored' if report.ignored else ''
    text = f'no training mask has a pixel of {len(missing)} classes, such as {missing[:5]}{ignored}'
    return text, int(there.sum()) < 2 and len(classes) > 1
