"""COCO's average precision and its table, unrounded, at any number of detections per image."""

import contextlib
import io
from collections.abc import Sequence

import numpy as np
from mmengine.logging import print_log

try:  # a drop-in replacement, several times as fast
    from faster_coco_eval import COCO
    from faster_coco_eval import COCOeval_faster as COCOeval
except ImportError:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

from lomar.detection.detection_limit import DEFAULT

# Index of the IoU threshold (None: mean of all) and name of the object sizes, as in COCO's table.
STATS = dict(
    AP=(None, 'all'),
    AP50=(0, 'all'),
    AP75=(5, 'all'),
    APs=(None, 'small'),
    APm=(None, 'medium'),
    APl=(None, 'large'),
)


def average_precision(
    truth: COCO,
    detections: list[dict],
    kind: str,
    categories: Sequence[int],
    max_dets: int = DEFAULT,
) -> dict:
    """Return AP, AP50, AP75, APs, APm, APl and AP `per_class` by name, in percent.

    A value is None if the dataset has no object of the size or class.

    Args:
        detections: in COCO's result format.
        kind: 'bbox' or 'segm'.
        categories: ids of the evaluated categories in ascending order.
        max_dets: number of detections per image and category that are evaluated.
    """
    names = {category['id']: category['name'] for category in truth.dataset['categories']}
    if not truth.anns:
        print_log(f'{kind}: the dataset has no objects, so there is no AP', logger='current')
        return dict.fromkeys(STATS) | {'per_class': {names[c]: None for c in categories}}
    if not detections:
        print_log(f'{kind}: nothing was detected', logger='current')
    with contextlib.redirect_stdout(io.StringIO()):  # both libraries print progress
        # pycocotools fails for an empty list.
        found = truth.loadRes(detections) if detections else indexed(truth.dataset, [])
        evaluation = COCOeval(truth, found, kind)
        evaluation.params.catIds = list(categories)
        evaluation.params.maxDets = sorted({1, min(10, max_dets), max_dets})
        evaluation.evaluate()
        evaluation.accumulate()
    # COCOeval.summarize reads AP at a limit of 100 only.
    print_log('\n'.join([kind, *_table(evaluation)]), logger='current')
    # Axes: IoU thresholds, recalls, classes, areas (the first is "all"), limits.
    precision = evaluation.eval['precision'][:, :, :, 0, -1]
    stats = {
        name: _percent(_slice(evaluation, 'precision', *place)) for name, place in STATS.items()
    }
    return stats | {
        'per_class': {names[c]: _percent(precision[:, :, i]) for i, c in enumerate(categories)}
    }


def indexed(dataset: dict, annotations: list[dict]) -> COCO:
    """Return a dataset with other annotations as an object of pycocotools."""
    coco = COCO()
    coco.dataset = {**dataset, 'annotations': annotations}
    with contextlib.redirect_stdout(io.StringIO()):  # createIndex prints progress
        coco.createIndex()
    return coco


def _slice(
    evaluation: COCOeval, what: str, threshold: int | None, size: str, limit: int = -1
) -> np.ndarray:
    """Return the values of an IoU threshold (None: of all), a size and an index of `maxDets`.

    Args:
        what: 'precision' (thresholds, recalls, classes, sizes, limits) or 'recall'.
    """
    values = evaluation.eval[what]
    values = values if threshold is None else values[[threshold]]
    return values[..., evaluation.params.areaRngLbl.index(size), limit]


def _table(evaluation: COCOeval) -> list[str]:
    """Return COCO's table of AP and average recall at the limits of the evaluation."""
    rows = [('Precision', 'AP', 'precision', *place, -1) for place in STATS.values()]
    recalls = [('all', limit) for limit in range(len(evaluation.params.maxDets))]
    recalls += [(size, -1) for size in evaluation.params.areaRngLbl[1:]]
    rows += [('Recall', 'AR', 'recall', None, *place) for place in recalls]
    lines = []
    for title, short, what, threshold, size, limit in rows:
        percent = _percent(_slice(evaluation, what, threshold, size, limit))
        value = -1 if percent is None else percent / 100
        thresholds = evaluation.params.iouThrs
        iou = f'{thresholds[0]:.2f}:{thresholds[-1]:.2f}'
        iou = iou if threshold is None else f'{thresholds[threshold]:.2f}'
        lines.append(
            f' {f"Average {title}":<18} ({short}) @[ IoU={iou:<9} | area={size:>6s} | '
            f'maxDets={evaluation.params.maxDets[limit]:>3d} ] = {value:0.3f}'
        )
    return lines


def _percent(fractions: np.ndarray) -> float | None:
    """Return the mean in percent without values of -1, which mean "no object"; None without any."""
    valid = fractions[fractions > -1]
    return 100 * float(valid.mean()) if valid.size else None
