"""Lazy bitmaps, their targets and run lengths: equal to mmdet's and pycocotools', bit by bit."""

import pickle
from functools import partial
from operator import itemgetter, methodcaller

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures.mask import BitmapMasks, mask_target
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import MODELS, init_default_scope
from PIL import Image
from pycocotools import mask as rle

from lomar.detection import LazyMasks, encode

CONFIG = ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-scratch_shapes.py'


def bitmaps(rng, number, height, width):
    """Random rectangles and specks, the last of them empty."""
    masks = np.zeros((number, height, width), np.uint8)
    for mask in masks[:-1]:
        (y, x), (h, w) = rng.integers((height, width)), rng.integers(1, (height, width))
        mask[y : y + h, x : x + w] = rng.random(mask[y : y + h, x : x + w].shape) < 0.7
    return masks


def operations(rng):
    """What the pipeline does, in any order and sizes, and padding at the end."""
    for name in rng.choice(['flip', 'rescale', 'resize', 'crop', 'index'], rng.integers(1, 6)):
        if name == 'flip':
            yield methodcaller(name, rng.choice(['horizontal', 'vertical', 'diagonal']))
        elif name == 'crop':
            yield partial(crop, corner=rng.random(2), side=rng.integers(8, 90, 2))
        elif name == 'index':
            yield itemgetter(rng.integers(0, 2, 2))
        elif name == 'resize':
            yield methodcaller(name, tuple(rng.integers(1, 90, 2).tolist()))
        else:
            yield methodcaller(name, rng.uniform(0.5, 2))
    yield lambda m: pickle.loads(pickle.dumps(m))  # to another process
    yield lambda m: m.pad((m.height + 5, m.width + 9))


def crop(masks, corner, side):
    low = (corner * (masks.width, masks.height)).astype(int)
    return masks.crop(np.concatenate([low, low + side]))


def assert_same(lazy, eager):
    assert (len(lazy), lazy.height, lazy.width) == (len(eager), eager.height, eager.width)
    boxes = lazy.get_bboxes('hbox'), eager.get_bboxes('hbox')
    assert type(boxes[0]) is type(boxes[1]) and torch.equal(boxes[0].tensor, boxes[1].tensor)
    assert lazy.masks.dtype == eager.masks.dtype
    np.testing.assert_array_equal(lazy.masks, eager.masks)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_waiting_changes_no_pixel_no_box_and_no_target(seed):
    rng = np.random.default_rng(seed)
    height, width = map(int, rng.integers(8, 70, 2))
    masks = bitmaps(rng, 3, height, width)
    lazy, eager = LazyMasks(masks, height, width), BitmapMasks(masks, height, width)
    for apply in operations(rng):
        lazy, eager = apply(lazy), apply(eager)
    assert isinstance(lazy, LazyMasks)
    if len(lazy):
        # Boxes as an RPN has them, some of them beyond the border or without an area.
        boxes = rng.uniform(-9, max(lazy.height, lazy.width) + 9, (12, 4)).astype(np.float32)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
        boxes[0, 2:], boxes[1] = boxes[0, :2], boxes[1].round()
        boxes = torch.from_numpy(boxes)
        first = rng.integers(len(lazy))  # not every instance has a box
        indices = torch.from_numpy(rng.integers(first, len(lazy), 12))
        for soft in (False, True):
            size = ConfigDict(mask_size=14, soft_mask_target=soft)
            made = mask_target([boxes], [indices], [lazy], size)
            assert torch.equal(made, mask_target([boxes], [indices], [eager], size))
    assert_same(lazy, eager)


def test_no_masks_and_a_padding_of_ones():
    none = LazyMasks([], 6, 8).flip().rescale((20, 20)).crop(np.array([1, 1, 9, 9])).pad((12, 12))
    assert none.masks.shape == (0, 12, 12) and none.get_bboxes().tensor.shape == (0, 4)
    assert len(none.crop_and_resize(torch.zeros(0, 4), (7, 7), torch.zeros(0, dtype=int))) == 0
    ones = LazyMasks(np.zeros((1, 2, 2), np.uint8), 2, 2).pad((3, 3), 1)
    assert ones.masks.sum() == 5


def test_nothing_is_scaled_for_the_targets(monkeypatch):
    lazy = LazyMasks(bitmaps(np.random.default_rng(0), 3, 60, 80), 60, 80).rescale((2048, 2048))
    lazy = lazy.crop(np.array([100, 90, 1124, 1114])).pad((1024, 1024))
    lazy.get_bboxes()
    monkeypatch.setattr(LazyMasks, 'masks', property(lambda self: pytest.fail('all are made')))
    box = torch.tensor([[10.0, 20.0, 700.0, 900.0]])
    lazy.crop_and_resize(box, (28, 28), torch.tensor([1]))
    # In a pipe to the training process: parts of the 60 x 80 bitmaps and two lists of indices.
    assert len(pickle.dumps(lazy)) < 3 * 60 * 80 + 2 * 8 * 1024 + 2000


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    share=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
    dtype=st.sampled_from([bool, np.uint8]),
)
def test_run_lengths_equal_pycocotools(seed, share, dtype):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2)
    masks = (rng.random((3, height, width)) < share).astype(dtype)
    masks[1, :, : rng.integers(width)] = 0
    masks[2, : rng.integers(height)] = 0
    expected = rle.encode(np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8))
    assert encode(masks) == [{**one, 'counts': one['counts'].decode()} for one in expected]


def test_the_detector_learns_the_same(tmp_path):
    """Losses and gradients of the toy detector, its pipeline with mmdet's masks and with ours."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (90, 110, 3), dtype=np.uint8)).save(tmp_path / 'a.png')
    masks = bitmaps(rng, 5, 90, 110)
    instances = [
        dict(bbox=[0, 0, 110, 90], bbox_label=label, mask=one, ignore_flag=0)
        for label, one in enumerate(encode(masks))
    ]
    cfg = Config.fromfile(CONFIG)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    results = []
    for loader in ('LoadInstances', 'LoadAnnotations'):
        steps = [
            dict(step, type=loader) if step['type'] == 'LoadInstances' else step
            for step in cfg.train_dataloader.dataset.pipeline
        ]
        assert [step['type'] for step in steps].count(loader) == 1
        np.random.seed(3)
        sample = dict(img_path=str(tmp_path / 'a.png'), img_id=0, instances=instances)
        packed = [Compose(steps)(dict(sample, height=90, width=110)) for _ in range(4)]
        torch.manual_seed(1)
        model.zero_grad()
        data = {key: [one[key] for one in packed] for key in packed[0]}
        kinds = {type(one.gt_instances.masks) for one in data['data_samples']}
        assert kinds == {LazyMasks if loader == 'LoadInstances' else BitmapMasks}
        total, losses = model.parse_losses(
            model(**model.data_preprocessor(data, True), mode='loss')
        )
        total.backward()
        results.append((losses, {n: p.grad for n, p in model.named_parameters()}))
    (losses, gradients), (expected, expected_gradients) = results
    assert losses.keys() == expected.keys() and losses['loss_mask'] > 0
    assert all(torch.equal(losses[name], expected[name]) for name in losses)
    assert all(torch.equal(gradients[n], expected_gradients[n]) for n in gradients)


@pytest.mark.gpu
def test_targets_on_a_gpu_equal_mmdets_there():
    rng = np.random.default_rng(0)
    masks = bitmaps(rng, 4, 60, 80)
    corners = torch.from_numpy(rng.uniform(0, 60, (40, 2, 2)).astype(np.float32)).cuda()
    boxes = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    indices = torch.from_numpy(rng.integers(1, 4, 40)).cuda()
    size = ConfigDict(mask_size=28, soft_mask_target=True)
    lazy, eager = (
        mask_target([boxes], [indices], [kind(masks, 60, 80)], size)
        for kind in (LazyMasks, BitmapMasks)
    )
    assert lazy.is_cuda and torch.equal(lazy, eager)
