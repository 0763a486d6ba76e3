"""Measurements of settings that the configs do not contain, on built models and transforms."""

from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from mmengine.registry import MODELS, TASK_UTILS, TRANSFORMS, init_default_scope
from mmengine.structures import InstanceData
from PIL import Image
from torch import nn

from tests.recipes.resolved import Resolved

_HEADS: dict[str, nn.Module] = {}  # cache of built heads by settings


def backbone_std(parameter: str):
    """Return a function that measures the standard deviation of an initial weight.

    The backbone is built with ViT-B's width and one block.
    """

    def measure(resolved: Resolved) -> float:
        settings = deepcopy(resolved.cfg.model.backbone)
        settings.arch = dict(embed_dim=768, depth=1, num_heads=12)
        settings.update(global_blocks=(), frozen_stages=0)
        torch.manual_seed(0)
        return MODELS.build(settings).get_parameter(parameter).std().item()

    return measure


def head_std(head: str, parameter: str):
    """Return a function that measures the standard deviation of an initial weight of a head."""

    def measure(resolved: Resolved) -> float:
        return built_head(resolved, head).get_parameter(parameter).std().item()

    return measure


def built_head(resolved: Resolved, head: str) -> nn.Module:
    """Return a part of the detector, such as 'roi_head.bbox_head', with initial weights."""
    settings = resolved.value(f'model.{head}')
    key = repr(settings)
    if key not in _HEADS:
        init_default_scope('mmdet')
        torch.manual_seed(0)
        _HEADS[key] = MODELS.build(deepcopy(settings))
        _HEADS[key].init_weights()
    return _HEADS[key]


def crop_filter(resolved: Resolved) -> str:
    """Return the interpolation of the random resized crop; only bicubic overshoots at an edge."""
    init_default_scope(resolved.cfg.default_scope)
    step = resolved.step('LoadRandomResizedCrop')
    whole = {**step, 'crop_ratio_range': (1, 1), 'aspect_ratio_range': (1, 1)}
    edge = np.full((8, 8, 3), 100, np.uint8)
    edge[:, 4:] = 150
    with TemporaryDirectory() as folder:
        path = Path(folder) / 'edge.png'
        Image.fromarray(edge).save(path)
        pixels = TRANSFORMS.build(whole)(dict(img_path=str(path)))['img']
    return 'bicubic' if pixels.min() < 100 and pixels.max() > 150 else 'bilinear'


def rpn_dtype(resolved: Resolved) -> str:
    """Return the dtype of the RPN's scores under mixed precision."""
    head = built_head(resolved, 'rpn_head')
    with torch.autocast('cpu', torch.bfloat16):
        scores, _ = head([torch.zeros(1, head.in_channels, 4, 4)])
    return str(scores[0].dtype).removeprefix('torch.')


def noise_after_jitter(resolved: Resolved) -> float:
    """Return the standard deviation of white noise after large-scale jitter by a ratio of 0.1.

    The standard deviation before is 74 (uniform 8-bit noise).
    """
    init_default_scope('mmdet')
    step = {**resolved.step('ratio_range'), 'ratio_range': (0.1, 0.1)}
    noise = np.random.default_rng(0).integers(0, 256, (1000, 1000, 3), np.uint8)
    found = TRANSFORMS.build(step)(dict(img=noise, img_shape=noise.shape[:2]))
    return float(found['img'].std())


def mask_format(resolved: Resolved) -> str:
    """Return the format of a loaded polygon mask, 'polygons' or 'bitmaps'."""
    from mmdet.structures.mask import PolygonMasks  # slow to import

    init_default_scope('mmdet')
    triangle = [[2.0, 2.0, 30.0, 2.0, 2.0, 30.0]]
    instance = dict(mask=triangle, bbox=[2, 2, 30, 30], bbox_label=0, ignore_flag=0)
    results = dict(instances=[instance], ori_shape=(32, 32), img_shape=(32, 32))
    masks = TRANSFORMS.build(resolved.step('with_mask'))(results)['gt_masks']
    polygons = isinstance(masks, PolygonMasks) or hasattr(masks, 'polygons')
    return 'polygons' if polygons else 'bitmaps'


def reassigned_anchors(resolved: Resolved) -> float:
    """Return the fraction of positive anchors not assigned to the object of highest IoU.

    The config's assigner is applied to random images of 640 x 480 pixels with 1 to 13 objects of 8
    to 250 pixels, after large-scale jitter.
    """
    init_default_scope('mmdet')
    rng = np.random.default_rng(0)
    generator = TASK_UTILS.build(resolved.cfg.model.rpn_head.anchor_generator)
    grids = [(1024 // stride[0],) * 2 for stride in generator.strides]
    anchors = torch.cat(generator.grid_priors(grids, device='cpu'))
    assigner = TASK_UTILS.build(resolved.cfg.model.train_cfg.rpn.assigner)
    changed = positive = 0
    for _ in range(40):
        objects = _jittered_boxes(rng)
        given = InstanceData(bboxes=objects, labels=torch.zeros(len(objects), dtype=torch.long))
        found = assigner.assign(InstanceData(priors=anchors), given).gt_inds - 1
        best = assigner.iou_calculator(objects, anchors).argmax(dim=0)
        changed += (found[found >= 0] != best[found >= 0]).sum().item()
        positive += (found >= 0).sum().item()
    return changed / positive


def _jittered_boxes(rng: np.random.Generator) -> torch.Tensor:
    """Return random boxes (N, 4) of one image, scaled by 0.1 to 2 and cropped to 1024 pixels."""
    size, scale = np.array([640, 480]), 1024 / 640 * rng.uniform(0.1, 2)
    sides = np.exp(rng.uniform(*np.log((8, 250)), (rng.integers(1, 14), 2)))
    corners = rng.uniform(0, size - sides)
    boxes = np.concatenate([corners, corners + sides], axis=1) * scale
    boxes -= np.tile(np.maximum(size * scale - 1024, 0) * rng.uniform(0, 1, 2), 2)
    boxes = boxes.clip(0, 1024)
    seen = (boxes[:, 2:] - boxes[:, :2] > 1).all(axis=1)
    return torch.tensor(boxes[seen], dtype=torch.float32)
