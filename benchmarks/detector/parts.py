"""Timing of a detector's parts outside the backbone, with mmdet's data pipeline and with ours."""

import json
import pickle
import tempfile
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import torch
from mmcv.ops.roi_align import ext_module
from mmcv.transforms import RandomResize
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, MODELS, init_default_scope
from pycocotools import mask as rle
from pycocotools.coco import COCO

from benchmarks.detector.scenes import HEIGHT, WIDTH, detect, make_scenes, moved
from benchmarks.speed.timing import Spread, Stopwatch
from lomar.detection import LargeScaleJitter, encode
from lomar.detection.average_precision import average_precision

WHO = ('mmdet', 'lomar')
CROP = 'resize, crop: boxes and masks'
PARTS = dict(  # names in the table that differ from the names of the transforms
    LoadInstances='LoadAnnotations', LargeScaleJitter=CROP, RandomResize=CROP, RandomCrop=CROP
)
NEAR = 400  # proposals per image near objects, as from a trained RPN; enough for all positives
Rounds = dict[str, list[dict[str, float]]]  # who -> one dict per round: part -> seconds


def watch_step(model, stopwatch: Stopwatch) -> None:
    """Time the parts of a training step; other time counts for the caller of the parts."""
    rpn, roi = model.rpn_head, model.roi_head
    for name, owner, methods in (
        ('images and masks to a batch', model.data_preprocessor, ['forward']),
        ('small backbone', model.backbone, ['forward']),
        ('feature pyramid', model.neck, ['forward']),
        ('RPN: layers', rpn, ['forward']),
        ('RPN: anchors', rpn.prior_generator, ['grid_priors', 'valid_flags']),
        ('RPN: assigner', rpn.assigner, ['assign']),
        ('RPN: sampler', rpn.sampler, ['sample']),
        ('RPN: other targets, loss', rpn, ['loss_by_feat']),
        ('RPN: proposals, NMS', rpn, ['predict_by_feat']),
        ('RoI: assigner', roi.bbox_assigner, ['assign']),
        ('RoI: sampler', roi.bbox_sampler, ['sample']),
        ('RoIAlign', roi.bbox_roi_extractor, ['forward']),
        ('RoIAlign', roi.mask_roi_extractor, ['forward']),
        ('box head: layers', roi.bbox_head, ['forward']),
        ('box head: targets, loss', roi.bbox_head, ['loss_and_target']),
        ('mask head: layers', roi.mask_head, ['forward']),
        ('mask head: targets', roi.mask_head, ['get_targets']),
        ('mask head: loss', roi.mask_head, ['loss_and_target']),
    ):
        for method in methods:
            setattr(owner, method, stopwatch.timed(getattr(owner, method), name))


def training_step(model, data: dict, generator: torch.Generator) -> torch.Tensor:
    """Return the loss of mmdet's two-stage training; some RPN proposals are moved near objects."""
    data = model.data_preprocessor(data, True)
    samples = data['data_samples']
    maps = model.extract_feat(data['inputs'])
    # As TwoStageDetector.loss has it: to the RPN all objects are of one class.
    plain = [sample.clone() for sample in samples]
    for sample in plain:
        sample.gt_instances.labels = torch.zeros_like(sample.gt_instances.labels)
    losses, proposals = model.rpn_head.loss_and_predict(
        maps, plain, proposal_cfg=model.train_cfg.rpn_proposal
    )
    for found, sample in zip(proposals, samples, strict=True):
        near = moved(sample.gt_instances.bboxes, min(NEAR, len(found)), 0.08, generator)
        found.bboxes[: len(near)] = near.clamp(0, max(sample.batch_input_shape))
    losses = {f'rpn_{key}': value for key, value in losses.items()}
    return model.parse_losses(losses | model.roi_head.loss(maps, proposals, samples))[0]


def time_pipeline(cfg: Config, samples: list[dict], repeats: int) -> Rounds:
    """Return seconds per image of each transform, and of sending masks to the training process."""
    rounds: Rounds = {who: [] for who in WHO}
    pipelines = {who: _pipeline(cfg, who) for who in WHO}
    for turn in range(-1, repeats):
        for who in WHO[:: -1 if turn % 2 else 1]:
            stopwatch = Stopwatch()
            _watch_resize(pipelines[who], stopwatch)
            for number, sample in enumerate(map(dict, samples)):
                np.random.seed(turn * len(samples) + number + len(samples))
                for step in pipelines[who].transforms:
                    kind = type(step).__name__
                    name = PARTS.get(kind, kind)
                    # A transform returns None for an image without remaining objects.
                    sample = sample and stopwatch.timed(step, name)(sample)
                if sample:
                    masks = sample['data_samples'].gt_instances.masks
                    stopwatch.timed(_send, 'masks to another process')(masks)
            if turn >= 0:
                seconds = stopwatch.read()
                rounds[who].append({k: v / len(samples) for k, v in seconds.items()})
    return rounds


def time_steps(cfg: Config, samples: list[dict], batch: int, repeats: int) -> tuple[Rounds, dict]:
    """Return seconds per training step of each part, and counts of the batch."""
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    stopwatch = Stopwatch()
    watch_step(model, stopwatch)
    backward = stopwatch.timed(torch.Tensor.backward, 'backward, all else')
    aligned = stopwatch.timed(ext_module.roi_align_backward, 'RoIAlign, backward')
    step = stopwatch.timed(training_step, 'all else')
    batches = {who: _batch(_pipeline(cfg, who), samples, batch) for who in WHO}
    rounds: Rounds = {who: [] for who in WHO}
    with mock.patch.object(ext_module, 'roi_align_backward', aligned):
        for turn in range(-1, repeats):
            for who in WHO[:: -1 if turn % 2 else 1]:
                torch.manual_seed(turn + 1)
                model.zero_grad()
                backward(step(model, pickle.loads(batches[who]), torch.Generator().manual_seed(0)))
                seconds = stopwatch.read()
                if turn >= 0:
                    rounds[who].append(seconds)
    objects = [len(one.gt_instances) for one in pickle.loads(batches['lomar'])['data_samples']]
    return rounds, dict(images=batch, objects=objects)


def time_evaluation(cfg: Config, annotations: Path, images: int, repeats: int) -> Rounds:
    """Return seconds per image of mask pasting, mask encoding and COCO evaluation."""
    coco = json.loads(annotations.read_text())
    coco['images'] = coco['images'][:images]
    truth = COCO()
    truth.dataset = coco | dict(
        annotations=[a for a in coco['annotations'] if a['image_id'] < images]
    )
    truth.createIndex()
    head = MODELS.build(cfg.model.roi_head.mask_head)
    rounds: Rounds = {who: [] for who in WHO}
    for turn in range(repeats):
        generator = torch.Generator().manual_seed(turn)
        watches = {who: Stopwatch() for who in WHO}
        entries: dict[str, list[dict]] = dict(bbox=[], segm=[])
        for image in coco['images']:
            objects = truth.imgToAnns[image['id']]
            found = detect(objects, head.num_classes, cfg.model.train_cfg.rcnn.mask_size, generator)
            masks = _paste(head, found, cfg, watches)
            codes = {
                who: watches[who].timed(function, 'run-length encoding')(masks)
                for who, function in (('mmdet', _pycocotools), ('lomar', encode))
            }
            if codes['mmdet'] != codes['lomar']:
                raise ValueError('run lengths differ from those of pycocotools')
            _add(entries, image['id'], found, codes['lomar'])
        ids = [category['id'] for category in coco['categories']]
        for kind, detections in entries.items():
            seconds = Stopwatch()
            seconds.timed(average_precision, kind)(truth, detections, kind, ids)
            for watch in watches.values():
                watch.seconds[f'COCO evaluation, {kind}'] = seconds.seconds[kind]
        for who, watch in watches.items():
            rounds[who].append({k: v / images for k, v in watch.read().items()})
    return rounds


def benchmark_detector(
    cfg: Config, images: int = 16, repeats: int = 3, steps: int = 3, evaluated: int = 100
) -> dict:
    """Time pipeline, training step and evaluation of a Mask R-CNN in one thread, in turns.

    Args:
        cfg: a config of mmconfigs/; a backbone of two blocks with 192 channels replaces its own.
        images: number of images per round of the pipeline.
        repeats: number of rounds of the pipeline and of the evaluation.
        steps: number of training steps of two images for each of the two data pipelines.
        evaluated: number of images in the evaluation.

    Returns:
        `pipeline` and `evaluation` in ms per image, `step` in ms per step: part -> who ->
        `median`, `least`, `most`; and what was `measured`.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    init_default_scope(cfg.default_scope)
    arch = dict(_delete_=True, embed_dim=192, depth=2, num_heads=3)
    cfg.merge_from_dict(dict(model=dict(backbone=dict(arch=arch, global_blocks=(1,)))))
    cfg.model.neck.in_channels = 192
    classes = cfg.model.roi_head.bbox_head.num_classes
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        annotations = make_scenes(folder, max(images, evaluated), classes)
        source = dict(type='CocoFiles', ann_file=str(annotations), data_prefix=dict(img=scratch))
        dataset = DATASETS.build(dict(source, pipeline=cfg.train_dataloader.dataset.pipeline))
        samples = [dataset.get_data_info(number) for number in range(images)]
        pipeline = time_pipeline(cfg, samples, repeats)
        step, batch = time_steps(cfg, samples, 2, steps)
        evaluation = time_evaluation(cfg, annotations, evaluated, repeats)
    measured = dict(
        images=f'{WIDTH} x {HEIGHT}', batch=batch, pipeline_images=images, evaluated=evaluated
    )
    tables = dict(pipeline=pipeline, step=step, evaluation=evaluation)
    return dict(measured=measured, **{key: _summary(rounds) for key, rounds in tables.items()})


def _summary(rounds: Rounds) -> dict[str, dict[str, dict[str, float]]]:
    parts = dict.fromkeys(part for one in rounds['mmdet'] for part in one)

    def spread(values: list[float]) -> dict[str, float]:
        return {key: round(1e3 * value, 2) for key, value in vars(Spread.of(values)).items()}

    table = {
        part: {who: spread([one.get(part, 0.0) for one in own]) for who, own in rounds.items()}
        for part in parts
    }
    return table | {
        'sum': {who: spread([sum(one.values()) for one in own]) for who, own in rounds.items()}
    }


def _pipeline(cfg: Config, who: str) -> Compose:
    steps = cfg.train_dataloader.dataset.pipeline
    if who == 'mmdet':
        steps = [one for step in steps for one in _mmdets(dict(step))]
    return Compose(steps)


def _mmdets(step: dict) -> list[dict]:
    """Return the transforms of mmdet that replace one of ours."""
    if step['type'] == 'LoadInstances':
        return [dict(step, type='LoadAnnotations')]
    if step['type'] != 'LargeScaleJitter':
        return [step]
    resize = {key: step.pop(key) for key in ('scale', 'ratio_range')}
    return [dict(resize, type='RandomResize', keep_ratio=True), dict(step, type='RandomCrop')]


def _watch_resize(pipeline: Compose, stopwatch: Stopwatch) -> None:
    """Time the resize of the image separately from that of boxes and masks."""
    for step in pipeline.transforms:
        if isinstance(step, (LargeScaleJitter, RandomResize)):
            ours = isinstance(step, LargeScaleJitter)
            owner, name = (step, '_resized_part') if ours else (step.resize, '_resize_img')
            method = getattr(type(owner), name).__get__(owner)
            setattr(owner, name, stopwatch.timed(method, 'resize, crop: image'))


def _batch(pipeline: Compose, samples: list[dict], size: int) -> bytes:
    """Return a pickled batch of samples with at least ten objects; a step modifies its batch."""
    made = []
    for number, sample in enumerate(samples * 8):
        np.random.seed(number)
        packed = pipeline(dict(sample))
        if packed and len(packed['data_samples'].gt_instances) >= 10:
            made.append(packed)
        if len(made) == size:
            return pickle.dumps({key: [one[key] for one in made] for key in made[0]})
    raise ValueError(f'no {size} of {len(samples)} images keep ten objects: take more images')


def _send(masks) -> object:
    return pickle.loads(pickle.dumps(masks))


def _paste(head, found: dict, cfg: Config, watches: dict[str, Stopwatch]) -> np.ndarray:
    meta = dict(scale_factor=(1.0, 1.0), ori_shape=(HEIGHT, WIDTH))
    arguments = found['mask_preds'], found['bboxes'], found['labels'], meta, cfg.model.test_cfg.rcnn
    for watch in watches.values():
        masks = watch.timed(head._predict_by_feat_single, 'pasting masks')(*arguments)
    return masks.numpy()


def _pycocotools(masks: np.ndarray) -> list[dict]:
    """Encode one mask after the other, as mmdet does."""
    codes = [rle.encode(np.asfortranarray(mask, dtype=np.uint8)) for mask in masks]
    return [{**code, 'counts': code['counts'].decode()} for code in codes]


def _add(entries: dict[str, list], image: int, found: dict, codes: list[dict]) -> None:
    left, top, right, bottom = found['bboxes'].T
    boxes = torch.stack([left, top, right - left, bottom - top], dim=1).tolist()
    for label, score, box, code in zip(
        found['labels'].tolist(), found['scores'].tolist(), boxes, codes, strict=True
    ):
        one = dict(image_id=image, category_id=label + 1, score=score)
        entries['bbox'].append(one | dict(bbox=box))
        entries['segm'].append(one | dict(segmentation=code))
