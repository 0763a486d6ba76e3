"""IoU and accuracy: equal to their definition pixel by pixel."""

import json

import numpy as np
import pytest
import torch

from lomar.segmentation import IGNORED, ClassIoU
from lomar.segmentation.class_iou import confusion

NAMES = ['ground', 'square', 'stripe', 'sky']


def samples(*pairs):
    return [
        dict(pred_sem_seg=dict(data=torch.tensor([p])), gt_sem_seg=dict(data=torch.tensor([t])))
        for p, t in pairs
    ]


def evaluated(*pairs, out=None):
    metric = ClassIoU(out=out)
    metric.dataset_meta = dict(classes=NAMES)
    for sample in samples(*pairs):
        metric.process({}, [sample])
    return metric.evaluate(len(pairs)), metric.summary['segmentation']


def test_figures_are_over_all_pixels(tmp_path):
    """Images of different sizes; no pixel is of the sky."""
    one = ([[0, 0, 1], [1, 2, 2]], [[0, 1, 1], [1, 2, IGNORED]])
    other = ([[0, 0]], [[0, 2]])
    found, summary = evaluated(one, other, out=str(tmp_path))
    # By hand: ground 2 of 4, square 2 of 3, stripe 1 of 2 pixels of the union.
    assert found['iou/mIoU'] == pytest.approx(100 * (2 / 4 + 2 / 3 + 1 / 2) / 3)
    assert found['iou/aAcc'] == pytest.approx(100 * 5 / 7)
    assert found['iou/mAcc'] == pytest.approx(100 * (2 / 2 + 2 / 3 + 1 / 2) / 3)
    assert summary['per_class']['sky'] == dict(IoU=None, Acc=None)
    written = json.loads((tmp_path / 'iou.json').read_text())
    assert written['classes'] == NAMES and written['per_class'] == summary['per_class']
    assert written['confusion'][1] == [1, 2, 0, 0]


def test_a_predicted_class_without_ground_truth_counts_as_wrong():
    found, summary = evaluated(([[0, 3]], [[0, 0]]))
    assert summary['per_class']['sky'] == dict(IoU=0.0, Acc=None)
    assert found['iou/mIoU'] == pytest.approx((50 + 0) / 2) and found['iou/mAcc'] == 50


def test_mmseg_has_the_same_figures():
    evaluation = pytest.importorskip('mmseg.evaluation')
    rng = np.random.default_rng(0)
    true = rng.integers(0, 4, (3, 40, 50))
    predicted = np.where(rng.random(true.shape) < 0.7, true, rng.integers(0, 4, true.shape))
    true[rng.random(true.shape) < 0.1] = IGNORED
    pairs = [(p.tolist(), t.tolist()) for p, t in zip(predicted, true, strict=True)]
    metric = evaluation.IoUMetric()
    metric.dataset_meta = dict(classes=NAMES)
    for sample in samples(*pairs):
        metric.process({}, [sample])
    found, _ = evaluated(*pairs)
    for name, value in metric.evaluate(len(pairs)).items():
        assert found[f'iou/{name}'] == pytest.approx(value, abs=0.006)  # rounded by mmseg


def test_confusion_of_one_image():
    matrix = confusion(np.array([0, 1, 1, 3]), np.array([0, 1, 2, IGNORED]), 4)
    assert matrix.sum() == 3 and matrix[2, 1] == 1
