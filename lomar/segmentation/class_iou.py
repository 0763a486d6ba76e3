"""Segmentation metrics: mean IoU, accuracy of pixels and of classes, and a table of classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS

from lomar.segmentation.mask_ids import IGNORED
from lomar.utils import write_json


@METRICS.register_module()
class ClassIoU(BaseMetric):
    """Metric for mIoU, aAcc and mAcc in percent over all pixels of a dataset, as in mmseg.

    The mean IoU leaves out classes that occur neither in the ground truth nor in the predictions.
    The mean accuracy leaves out classes without ground truth. Ignored pixels do not count.
    mmseg's `IoUMetric` has the same figures, rounded to two digits, and no record of the classes.

    Args:
        out: folder for iou.json, with IoU and accuracy by class and the confusion matrix in pixels.
    """

    default_prefix = 'iou'

    def __init__(self, out: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.out = out
        self.summary: dict[str, dict] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the confusion matrix (N, N) of each image."""
        number = len(self.dataset_meta['classes'])
        for sample in data_samples:
            predicted = sample['pred_sem_seg']['data'].flatten().cpu().numpy()
            true = sample['gt_sem_seg']['data'].flatten().cpu().numpy()
            self.results.append(confusion(predicted, true, number))

    def compute_metrics(self, results: list[np.ndarray]) -> dict[str, float]:
        """Return the figures in percent, store them in `summary`, and log a table of classes."""
        matrix, names = np.sum(results, axis=0), list(self.dataset_meta['classes'])
        figures = class_figures(matrix)
        means = {
            'mIoU': float(np.nanmean(figures['IoU'])),
            'aAcc': float(100 * np.trace(matrix) / matrix.sum()),
            'mAcc': float(np.nanmean(figures['Acc'])),
        }
        rows = np.stack(list(figures.values()), axis=1)
        per_class = {
            name: {k: None if np.isnan(v) else float(v) for k, v in zip(figures, row, strict=True)}
            for name, row in zip(names, rows, strict=True)
        }
        self.summary['segmentation'] = dict(means, per_class=per_class)
        print_log(f'IoU and accuracy by class in percent:\n{_table(per_class)}', logger='current')
        if self.out:
            record = dict(means, per_class=per_class, classes=names, confusion=matrix.tolist())
            write_json(Path(self.out) / 'iou.json', record, indent=None)
        return means


def confusion(predicted: np.ndarray, true: np.ndarray, number: int) -> np.ndarray:
    """Return the numbers of pixels (N, N) by true (row) and predicted (column) label."""
    counted = true != IGNORED
    pairs = number * true[counted].astype(np.int64) + predicted[counted]
    return np.bincount(pairs, minlength=number**2).reshape(number, number)


def class_figures(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return IoU and accuracy of each class in percent; NaN where there are no pixels."""
    right, true, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
    with np.errstate(invalid='ignore', divide='ignore'):
        return {'IoU': 100 * right / (true + predicted - right), 'Acc': 100 * right / true}


def _table(per_class: dict[str, dict]) -> str:
    width = max(map(len, per_class))
    rows = [
        f'{name:{width}}  '
        + '  '.join('  none' if v is None else f'{v:6.2f}' for v in one.values())
        for name, one in per_class.items()
    ]
    return '\n'.join((f'{"class":{width}}     IoU     Acc', *rows))
