"""Model FLOPs of a training step, counted by PyTorch on tensors without content.

Models are built and run on the `meta` device: shapes without memory, weights or arithmetic. A
multiplication and the addition after it are two FLOPs; only matrix products, convolutions and
attention count, as nothing else is noticeable.

What activation checkpointing computes a second time is no model FLOP: it is a way of saving memory,
and a run that needs it has no more to show for it. The same holds inside of fused attention.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

IMAGES = 2  # that go through; a batch norm needs more than one


@dataclass(frozen=True)
class ImageFlops:
    """FLOPs of one image: of the forward pass, and of it together with the backward pass."""

    forward: float
    step: float


class _ModelFlops(FlopCounterMode):
    def _count_flops(self, func_packet, out, args, kwargs):
        # Going back is done with gradients off, save for what a checkpoint runs once more.
        if self.mod_tracker.is_bw and torch.is_grad_enabled():
            return out
        return super()._count_flops(func_packet, out, args, kwargs)


def flops_of(fn: Callable) -> tuple[int, object]:
    """Model FLOPs of a call without arguments, and what it returns.

    Attention is computed by plain matrix products meanwhile, because fused kernels compute a part
    of it a second time on their way back: for tensors on the meta device, not for speed.
    """
    with sdpa_kernel(SDPBackend.MATH), _ModelFlops(display=False) as counter:
        result = fn()
    return counter.get_total_flops(), result


def count(cfg: Config) -> ImageFlops:
    """Model FLOPs an image of the model of a config, at `model.backbone.img_size`.

    Of pretraining that is the whole loss, of all regions where the pipeline cuts some; of a
    classifier all up to the logits. Of a two-stage detector it is backbone, neck and RPN head, the
    box head on as many regions as `model.train_cfg.rcnn.sampler.num`, and the mask head on
    `pos_fraction` of them, which is the most that is sampled. Assigning targets, non-maximum
    suppression, RoIAlign and losses are left out: they multiply no matrices.

    Raises:
        ValueError: a detector of another kind, or a model without an image size.
    """
    if cfg.default_scope == 'mmdet' and cfg.model.type not in OUTPUTS:
        raise ValueError(
            f'model.type is {cfg.model.type}; FLOPs of detectors are counted for FasterRCNN and '
            'MaskRCNN'
        )
    init_default_scope(cfg.default_scope)
    size, settings = image_size(cfg), deepcopy(cfg.model)
    if settings.type == 'ImageClassifier':
        settings.train_cfg = None  # how images are mixed, on which mmpretrain prints a line
    with torch.device('meta'):
        model = MODELS.build(settings).train()
        images = torch.empty(IMAGES, cfg.model.backbone.get('in_channels', 3), *size)
        forward, result = flops_of(lambda: OUTPUTS.get(cfg.model.type, _loss)(model, images))
        backward, _ = flops_of(result.backward)
    files = IMAGES / regions_of_file(cfg)
    return ImageFlops(forward / files, (forward + backward) / files)


def regions_of_file(cfg: Config) -> int:
    """Images that the model gets of each one in the dataset: `number` where regions are cut."""
    steps = cfg.get('train_dataloader', {}).get('dataset', {}).get('pipeline', ())
    return next((step.number for step in steps if step.type in REGIONS), 1)


def image_size(cfg: Config) -> tuple[int, int]:
    """Height and width in pixels of the images that the model of a config is trained on.

    Raises:
        ValueError: the config does not say.
    """
    size = cfg.model.get('backbone', {}).get('img_size')
    if size is None:
        raise ValueError(
            f'model.backbone.img_size is missing (model.type is {cfg.model.type}); set it to the '
            'side of the training images in pixels, or to (height, width)'
        )
    return (size, size) if isinstance(size, int) else tuple(size)


def _loss(model: nn.Module, images: Tensor) -> Tensor:
    return model.parse_losses(model(images, None, mode='loss'))[0]


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    # Not the loss, which looks at the labels, and those have no values here.
    return model(images, mode='tensor').sum()


def _detector(model: nn.Module, images: Tensor) -> Tensor:
    """Sum of everything that the losses of a two-stage detector are made from."""
    features = model.extract_feat(images)
    scores, boxes = model.rpn_head(features)
    head, sampler = model.roi_head, model.roi_head.train_cfg.sampler
    regions = len(images) * sampler.num
    outputs = [*scores, *boxes, *head.bbox_head(_regions(head.bbox_roi_extractor, regions))]
    if head.with_mask:
        regions = len(images) * int(sampler.num * sampler.pos_fraction)
        outputs.append(head.mask_head(_regions(head.mask_roi_extractor, regions)))
    return sum(output.sum() for output in outputs)


def _regions(extractor: nn.Module, number: int) -> Tensor:
    """What RoIAlign cuts out of the features, through which gradients flow on."""
    size = extractor.roi_layers[0].output_size
    return torch.empty(number, extractor.out_channels, *size, requires_grad=True)


REGIONS = ('LoadRegions', 'LoadCropRegions')
OUTPUTS = dict(ImageClassifier=_logits, FasterRCNN=_detector, MaskRCNN=_detector)
