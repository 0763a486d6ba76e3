"""The operators of mmcv without its compiled module, against what the compiled one returned."""

import sys
from importlib import import_module
from pathlib import Path

import mmcv
import mmdet
import numpy as np
import pytest
import torch
from conftest import FIXTURES
from mmcv import ops
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData

from lomar.compat import mmcv_ops

COMPILED = {
    key: torch.from_numpy(array)
    for key, array in np.load(FIXTURES / 'mmcv_ops.npz').items()
    if key != 'mmcv_version'
}
BOXES, SCORES, ROIS = COMPILED['boxes'], COMPILED['scores'], COMPILED['rois']

supplied = pytest.mark.skipif(
    not isinstance(sys.modules['mmcv._ext'], mmcv_ops.Operators), reason='mmcv is compiled here'
)


def roi_align(features, rois, sampling_ratio=0, aligned=True):
    return ops.roi_align(features, rois, (7, 5), 0.25, sampling_ratio, 'avg', aligned)


@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
def test_nms(threshold):
    for offset in (0, 1):
        dets, keep = ops.nms(BOXES, SCORES, threshold, offset=offset)
        assert torch.equal(keep, COMPILED[f'nms_keep_{threshold}_{offset}'])
        assert torch.equal(dets, torch.cat([BOXES, SCORES[:, None]], dim=1)[keep])
    settings = dict(type='nms', iou_threshold=threshold)
    dets, keep = ops.batched_nms(BOXES, SCORES, COMPILED['labels'], settings)
    assert torch.equal(keep, COMPILED[f'batched_keep_{threshold}'])
    assert torch.equal(dets, COMPILED[f'batched_dets_{threshold}'])


def test_an_iou_equal_to_the_threshold_is_below_it():
    # As a double 0.3 is less than the float32 nearest to it, which is what mmcv compares with.
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 3, 1]])
    assert len(ops.nms(boxes, torch.tensor([0.9, 0.8]), 0.3)[1]) == 2


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
def test_soft_nms(method):
    scores = SCORES.clone()
    dets, keep = ops.soft_nms(BOXES, scores, 0.3, sigma=0.5, min_score=1e-3, method=method)
    assert torch.equal(keep, COMPILED[f'softnms_keep_{method}'])
    # torch's exp and the C library's round a few numbers differently, and scores decay many times.
    rtol = 2e-6 if method == 'gaussian' else 0
    torch.testing.assert_close(dets, COMPILED[f'softnms_dets_{method}'], rtol=rtol, atol=0)
    assert torch.equal(scores, SCORES)


def test_soft_nms_orders_equal_scores_by_swaps():
    for scores, expected in (
        ([0.5, 0.5, 0.9, 0.4], [2, 1, 0, 3]),  # the best changes places with the first
        ([0.9, 0.0, 0.0, 0.5, 0.5, 0.5], [0, 5, 4, 3]),  # the last takes a dropped one's place
    ):
        apart = torch.arange(len(scores)).view(-1, 1) * 10.0 + torch.tensor([0.0, 0, 5, 5])
        assert ops.soft_nms(apart, torch.tensor(scores))[1].tolist() == expected


@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align(sampling_ratio, aligned):
    features = COMPILED['feat'].clone().requires_grad_()
    output = roi_align(features, ROIS, sampling_ratio, aligned)
    output.square().sum().backward()
    assert torch.equal(output, COMPILED[f'roi_align_{sampling_ratio}_{aligned}'])
    assert torch.equal(features.grad, COMPILED[f'roi_align_grad_{sampling_ratio}_{aligned}'])


@supplied
def test_half_precision_is_computed_in_single():
    features, rois = COMPILED['feat'].bfloat16().requires_grad_(), ROIS.bfloat16()
    output = roi_align(features, rois)
    output.sum().backward()
    single = features.detach().float().requires_grad_()
    expected = roi_align(single, rois.float())
    expected.sum().backward()
    assert torch.equal(output, expected.bfloat16())
    assert torch.equal(features.grad, single.grad.bfloat16())
    scores = SCORES.bfloat16()
    assert torch.equal(ops.nms(BOXES, scores, 0.5)[1], ops.nms(BOXES, scores.float(), 0.5)[1])


@pytest.mark.gpu
def test_gpu_equals_cpu():
    assert torch.equal(
        ops.nms(BOXES.cuda(), SCORES.cuda(), 0.5)[1].cpu(), COMPILED['nms_keep_0.5_0']
    )
    features = COMPILED['feat'].cuda().requires_grad_()
    output = roi_align(features, ROIS.cuda())
    output.square().sum().backward()
    torch.testing.assert_close(output.cpu(), COMPILED['roi_align_0_True'])
    # Gradients are added up in no fixed order.
    torch.testing.assert_close(
        features.grad.cpu(), COMPILED['roi_align_grad_0_True'], rtol=1e-4, atol=1e-4
    )


@supplied
def test_what_is_not_supplied_says_so():
    with pytest.raises(NotImplementedError, match=r'^bbox_overlaps needs .* mmcv==2\.1\.0'):
        ops.bbox_overlaps(BOXES, BOXES)
    with pytest.raises(NotImplementedError, match='max'):
        ops.roi_align(COMPILED['feat'], ROIS, 7, 0.25, 0, 'max')
    assert ops.get_compiler_version() == 'not compiled'  # a report of the environment asks


def test_compiled_operators_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / '_ext.py').write_text('nms = "compiled"')
    monkeypatch.setattr(mmcv, '__path__', [str(tmp_path), *mmcv.__path__])
    monkeypatch.delitem(sys.modules, 'mmcv._ext')
    mmcv_ops.apply()
    assert import_module('mmcv._ext').nms == 'compiled'


def mask_rcnn():
    """mmdet's Mask R-CNN with a ResNet-50, at three classes and few proposals."""
    folder = Path(mmdet.__file__).parent / '.mim/configs/_base_/models'
    cfg = Config.fromfile(folder / 'mask-rcnn_r50_fpn.py').model
    cfg.backbone.init_cfg = None
    cfg.roi_head.bbox_head.num_classes = cfg.roi_head.mask_head.num_classes = 3
    for stage in (cfg.train_cfg.rpn_proposal, cfg.test_cfg.rpn):
        stage.update(nms_pre=50, max_per_img=20)
    cfg.test_cfg.rcnn.score_thr = 0.0
    return MODELS.build(dict(cfg, _scope_='mmdet'))


def sample(boxes, side=64):
    """An image's annotations: full masks inside its boxes."""
    masks = np.zeros((len(boxes), side, side), dtype=np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes, strict=True):
        mask[top:bottom, left:right] = 1
    instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.arange(len(boxes)),
        masks=BitmapMasks(masks, side, side),
    )
    shape = dict(img_shape=(side, side), ori_shape=(side, side), scale_factor=(1, 1))
    return DetDataSample(metainfo=shape, gt_instances=instances)


def test_mask_rcnn_trains_and_predicts():
    torch.manual_seed(0)
    model = mask_rcnn()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    batch = dict(
        inputs=list(torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)),
        data_samples=[sample([(4, 8, 40, 50), (20, 2, 60, 30)]), sample([])],
    )
    losses = model.train_step(batch, optimizer)
    assert all(loss.isfinite() for loss in losses.values()) and losses['loss_mask'] > 0
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    with torch.no_grad():
        found = model.eval().test_step(batch)[0].pred_instances
    assert len(found) and found.masks.shape == (len(found), 64, 64)
