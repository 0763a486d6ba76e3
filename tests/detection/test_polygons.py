"""Polygons up to the target: crops equal shapely's, boxes are floats, targets are detectron2's."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures.mask import mask_target
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from PIL import Image
from pycocotools import mask as rle
from shapely import geometry
from test_masks import bitmaps

from lomar.detection import LazyMasks, MixedMasks, Polygons, encode

CONFIG = ROOT / 'mmconfigs/detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'
TOY = ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-scratch_shapes.py'


def detectron2_target(polygons, box, size):
    """What detectron2 trains a mask on: polygons moved and scaled into the box, rasterised."""
    if not polygons:
        return np.zeros((size, size), bool)
    moved = [polygon.copy() for polygon in polygons]
    for polygon in moved:
        polygon[0::2] = (polygon[0::2] - box[0]) * (size / max(box[2] - box[0], 0.1))
        polygon[1::2] = (polygon[1::2] - box[1]) * (size / max(box[3] - box[1], 0.1))
    return rle.decode(rle.merge(rle.frPyObjects(moved, size, size))).astype(bool)


def detectron2_crop(polygons, x, y, width, height):
    """Polygons in a crop, by shapely."""
    cropped = []
    for polygon in polygons:
        whole = geometry.Polygon(polygon.reshape(-1, 2)).buffer(0.0)
        part = whole.intersection(geometry.box(x, y, x + width, y + height))
        for one in getattr(part, 'geoms', [part]):
            if isinstance(one, geometry.Polygon) and not one.is_empty:
                points = np.asarray(one.exterior.coords)[:-1] - (x, y)
                cropped.append(points.ravel())
    return cropped


def box_of(polygons):
    if not polygons:
        return np.zeros(4, np.float32)
    points = np.concatenate(polygons).reshape(-1, 2)
    return np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)


def star(rng, centre, radius, corners=12):
    """A polygon that does not cross itself and has bays."""
    angles = 2 * np.pi / corners * (np.arange(corners) + rng.random(corners))
    radii = radius * rng.uniform(0.2, 1, corners)
    return (centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)).ravel()


def band(centre, low, high):
    """A ring around a centre, not quite closed: a crop may cut it into parts."""
    angles = np.linspace(0.2, 2 * np.pi - 0.2, 30)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return (centre + np.concatenate([low * arc, high * arc[::-1]])).ravel()


def objects(rng, height, width):
    """Instances of one or two polygons, some beyond the border."""
    masks = []
    for _ in range(6):
        centres = rng.uniform((0, 0), (width, height), (rng.integers(1, 3), 2))
        masks.append([star(rng, centre, rng.uniform(3, 60)) for centre in centres])
    masks.append([band(rng.uniform(0, (width, height)), 15, 40)])
    return masks


def transformed(rng, masks, height, width):
    """Polygons after a flip, a resize and a crop: ours, and as detectron2 has them."""
    ours, theirs = Polygons(masks, height, width), [[p.copy() for p in one] for one in masks]
    flipped, (h, w) = rng.integers(2), rng.integers(20, 200, 2).tolist()
    crop_h, crop_w = min(h, rng.integers(10, 150)), min(w, rng.integers(10, 150))
    y, x = rng.integers(h - crop_h + 1), rng.integers(w - crop_w + 1)
    ours = (ours.flip() if flipped else ours).resize((h, w))
    ours = ours.crop(np.array([x, y, x + crop_w, y + crop_h]))
    for one in theirs:
        for polygon in one:
            polygon[0::2] = width - polygon[0::2] if flipped else polygon[0::2]
            polygon *= np.tile([w / width, h / height], len(polygon) // 2)
    return ours, [detectron2_crop(one, x, y, crop_w, crop_h) for one in theirs]


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_boxes_and_targets_are_detectron2s(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(40, 150, 2).tolist()
    ours, theirs = transformed(rng, objects(rng, height, width), height, width)
    ours = pickle.loads(pickle.dumps(ours)).pad((ours.height + 7, ours.width + 9))
    boxes = ours.get_bboxes('hbox').tensor
    expected = np.stack([box_of(one) for one in theirs])
    np.testing.assert_allclose(boxes.numpy(), expected, rtol=1e-6, atol=1e-6)
    # Boxes of objects, and proposals near them or anywhere, some of them without an area.
    proposals = torch.from_numpy(rng.uniform(-9, 150, (20, 4)).astype(np.float32))
    proposals[:, 2:] = torch.maximum(proposals[:, :2], proposals[:, 2:])
    proposals[0, 2:] = proposals[0, :2]
    proposals = torch.cat([boxes, boxes + torch.rand_like(boxes), proposals])
    indices = torch.cat([torch.arange(7).repeat(2), torch.from_numpy(rng.integers(0, 7, 20))])
    for size in (14, 28):
        targets = mask_target([proposals], [indices], [ours], ConfigDict(mask_size=size))
        # mmdet clips the boxes, in place, to the image, as detectron2 does where they are made.
        for target, box, index in zip(targets, proposals.numpy(), indices, strict=True):
            np.testing.assert_array_equal(target, detectron2_target(theirs[index], box, size))


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_crop_keeps_what_a_ring_that_crosses_itself_covers(seed):
    """Of a ring with loops and one with a hole the pixels in the crop, but for rounded edges."""
    rng = np.random.default_rng(seed)
    low, high = band((100, 100), 40, 80).reshape(2, -1, 2)  # a closed ring with a slit
    hole = np.concatenate([low, low[:1], high[-1:], high]).ravel() + rng.normal(0, 30)
    masks = [[rng.uniform(-20, 220, 14)], [hole]]
    whole = Polygons(masks, 200, 200)
    x, y = rng.integers(0, 100, 2)
    part = whole.crop(np.array([x, y, x + 100, y + 100]))
    expected = whole.to_ndarray()[:, y : y + 100, x : x + 100]
    assert (part.to_ndarray() != expected).mean() < 0.01
    boxes = part.get_bboxes().tensor.numpy()
    for box, pixels in zip(boxes, expected, strict=True):
        if pixels.sum() > 20:
            rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
            ends = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
            # A tip of less than a pixel is in the box only.
            assert (box[:2] <= np.add(ends[:2], 1)).all() and (
                box[2:] >= np.add(ends[2:], -1)
            ).all()


def test_a_box_ends_where_the_object_does():
    """An object in two parts of the crop is joined around the corner, which is not of it."""
    ring = np.array([5, -9, 9, -9, 9, 4, 5, 4, 5, -5, -5, -5, -5, 5, 2, 5, 2, 9, -9, 9, -9, -9.0])
    masks = Polygons([[ring + 20], [ring + 20, np.array([24.0, 27, 28, 27, 28, 30])]], 60, 60)
    cropped = masks.crop(np.array([20, 20, 60, 60]))
    np.testing.assert_array_equal(cropped.get_bboxes().tensor, [[0, 0, 9, 9], [0, 0, 9, 10]])
    only = Polygons([[ring[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]] + 20]], 60, 60)
    np.testing.assert_array_equal(
        only.crop(np.array([20, 20, 60, 60])).get_bboxes().tensor, [[5, 0, 9, 4]]
    )
    # All of the crop, and a half of it without an edge on the left.
    full = Polygons([[np.array([0.0, 0, 50, 0, 50, 50, 0, 50])]], 60, 60)
    np.testing.assert_array_equal(
        full.crop(np.array([10, 10, 30, 60])).get_bboxes().tensor, [[0, 0, 20, 40]]
    )


def test_what_is_cropped_away_is_dropped_with_its_instance():
    """An object that only touches the crop, one around its corner, a part, and one inside."""
    around = [-9, -9, 40, -9, 40, -1, -1, -1, -1, 40, -9, 40]
    touches = [-5, 3, 0, 3, 0, 8, -5, 8]
    half = [-6, 10, 7.5, 10, 7.5, 20, -6, 20]
    inside = [10.25, 12.5, 20.5, 12.5, 20.5, 30.75]
    masks = [[np.array(p, float) + 30] for p in (around, touches, half, inside, touches)]
    masks[4].append(np.array(inside, float) + 30)
    cropped = Polygons(masks, 90, 90).crop(np.array([30, 30, 90, 90]))
    boxes = cropped.get_bboxes()
    expected = [[0] * 4, [0] * 4, [0, 10, 7.5, 20], [10.25, 12.5, 20.5, 30.75]]
    np.testing.assert_array_equal(boxes.tensor, [*expected, expected[3]])
    assert [len(one) for one in cropped.masks] == [1] * 5
    assert cropped.areas.tolist()[:2] == [0, 0] and not cropped.to_ndarray()[:2].any()
    results = dict(gt_bboxes=boxes, gt_bboxes_labels=np.arange(5), gt_masks=cropped)
    init_default_scope('mmdet')
    kept = TRANSFORMS.build(dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)))(results)
    assert kept['gt_bboxes_labels'].tolist() == [2, 3, 4] and len(kept['gt_masks']) == 3
    np.testing.assert_array_equal(kept['gt_masks'].get_bboxes().tensor, kept['gt_bboxes'].tensor)


def sample_of(tmp_path, masks, height, width, rng):
    Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(
        tmp_path / 'a.png'
    )
    instances = [
        dict(bbox=[0, 0, width, height], bbox_label=label % 12, mask=mask, ignore_flag=0)
        for label, mask in enumerate(masks)
    ]
    path = str(tmp_path / 'a.png')
    return dict(img_path=path, img_id=0, height=height, width=width, instances=instances)


def test_crops_without_objects_are_trained_on(tmp_path):
    """As in detectron2; each of them was replaced by another image."""
    cfg = Config.fromfile(TOY)
    init_default_scope(cfg.default_scope)
    steps = [
        dict(step, ratio_range=(2, 2)) if 'ratio_range' in step else step
        for step in cfg.train_dataloader.dataset.pipeline
    ]
    pipeline, corner = Compose(steps), [[np.array([0, 0, 16, 0, 16, 16, 0, 16], float)]]
    sample = partial(sample_of, tmp_path, corner, 64, 64, np.random.default_rng(0))
    np.random.seed(0)
    found = [pipeline(sample())['data_samples'].gt_instances for _ in range(20)]
    assert {len(instances) for instances in found} == {0, 1}
    assert all(len(one.masks) == len(one.bboxes) == len(one.labels) for one in found)


@pytest.mark.parametrize('side', [8, 32])
def test_targets_after_the_training_pipeline(side, tmp_path):
    """Small objects at ratio 0.32: with bitmaps 1 - IoU to detectron2's targets was 0.6 and 0.3."""
    rng = np.random.default_rng(0)
    masks = [[star(rng, rng.uniform(30, 370, 2), side / 2)] for _ in range(12)]
    cfg = Config.fromfile(CONFIG)
    init_default_scope(cfg.default_scope)
    steps = cfg.train_dataloader.dataset.pipeline
    next(step for step in steps if 'ratio_range' in step).update(
        scale=(500, 500), ratio_range=(0.32, 0.32)
    )
    sample = sample_of(tmp_path, [[p.tolist() for p in one] for one in masks], 400, 500, rng)
    np.random.seed(1)  # flipped
    made = Compose(steps)(sample)['data_samples']
    assert made.flip and len(made.gt_instances) == 12
    for one in masks:
        one[0][0::2] = 500 - one[0][0::2]
        one[0] *= 0.32
    boxes = made.gt_instances.bboxes.tensor
    np.testing.assert_allclose(boxes, np.stack([box_of(one) for one in masks]), rtol=1e-6)
    config = cfg.model.train_cfg.rcnn
    targets = mask_target([boxes], [torch.arange(12)], [made.gt_instances.masks], config)
    expected = np.stack(
        [detectron2_target(one, box, 28) for one, box in zip(masks, boxes.numpy(), strict=True)]
    )
    both = targets.numpy().astype(bool), expected
    iou = np.logical_and(*both).sum((1, 2)) / np.logical_or(*both).sum((1, 2))
    assert (1 - iou).max() == 0 and expected.any((1, 2)).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_both_kinds_in_one_image(seed):
    """Each instance is what it would be among its own kind only."""
    rng = np.random.default_rng(seed)
    polygons = Polygons(objects(rng, 60, 80), 60, 80)
    lazy = LazyMasks(bitmaps(rng, 4, 60, 80), 60, 80)
    kinds = rng.permutation([True] * 4 + [False] * 7)
    chosen = rng.permutation(11)[:6]
    places = np.where(kinds, kinds.cumsum(), (~kinds).cumsum())[chosen] - 1
    mixed = MixedMasks(polygons, lazy, kinds)[chosen]
    polygons, lazy = polygons[places[~kinds[chosen]]], lazy[places[kinds[chosen]]]
    for apply in (
        lambda m: m.cat([m[:2], m[2:]]),
        lambda m: m.flip('diagonal'),
        lambda m: m.rescale((120, 120)),
        lambda m: m.resize((50, 70)),
        lambda m: m.crop(np.array([12, 7, 60, 70])),
        lambda m: pickle.loads(pickle.dumps(m)),
        lambda m: m.pad((64, 64)),
    ):
        mixed, polygons, lazy = apply(mixed), apply(polygons), apply(lazy)
    assert (len(mixed), mixed.height, mixed.width) == (6, 64, 64)
    boxes = torch.from_numpy(rng.uniform(0, 60, (9, 4)).astype(np.float32))
    boxes[:, 2:] += boxes[:, :2]
    indices = torch.from_numpy(rng.integers(0, 6, 9))
    size = ConfigDict(mask_size=14)
    target = partial(mask_target, cfg=size)
    made = target([boxes], [indices], [mixed])
    for place, kind in enumerate(kinds[chosen]):
        alone = lazy if kind else polygons
        own = int((kinds[chosen] == kind)[:place].sum())
        np.testing.assert_array_equal(mixed.masks[place], alone.to_ndarray()[own])
        np.testing.assert_array_equal(
            mixed.get_bboxes().tensor[place], alone.get_bboxes().tensor[own]
        )
        of = indices == place
        if of.any():
            expected = target([boxes[of]], [torch.full((int(of.sum()),), own)], [alone])
            assert torch.equal(made[of], expected)


def test_a_step_with_both_kinds_without_objects_and_with_padding(tmp_path):
    rng = np.random.default_rng(0)
    polygons = [[star(rng, rng.uniform(20, 60, 2), 18).tolist()] for _ in range(4)]
    runs = encode(bitmaps(rng, 4, 80, 90))
    cfg = Config.fromfile(TOY)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    assert model.data_preprocessor.pad_mask
    packed = []
    for masks in (polygons, runs, [*polygons, *runs], []):
        np.random.seed(3)
        sample = sample_of(tmp_path, masks, 80, 90, rng)
        packed.append(Compose(cfg.train_dataloader.dataset.pipeline)(sample))
    kinds = [type(one['data_samples'].gt_instances.masks) for one in packed]
    assert kinds == [Polygons, LazyMasks, MixedMasks, Polygons]
    data = {key: [one[key] for one in packed] for key in packed[0]}
    losses = model(**model.data_preprocessor(data, True), mode='loss')
    total, named = model.parse_losses(losses)
    total.backward()
    assert torch.isfinite(total) and named['loss_mask'] > 0


def test_what_is_refused():
    with pytest.raises(ValueError, match=r'LoadInstances.poly2mask is True; allowed: none'):
        TRANSFORMS.build(dict(type='LoadInstances', poly2mask=True))
    masks = Polygons([[np.array([0.0, 0, 9, 0, 9, 9])]], 9, 9)
    with pytest.raises(ValueError, match='soft_mask_target is True; allowed for polygons: False'):
        masks.crop_and_resize(torch.ones(1, 4), (7, 7), torch.zeros(1, dtype=int), binarize=False)
    none = Polygons([], 9, 9).flip().rescale((20, 20)).crop(np.array([1, 1, 9, 9])).pad((12, 12))
    assert none.to_ndarray().shape == (0, 12, 12) and none.get_bboxes().tensor.shape == (0, 4)
    assert len(none.crop_and_resize(torch.zeros(0, 4), (7, 7), torch.zeros(0, dtype=int))) == 0
