"""Model FLOPs of a training step, counted by PyTorch on the `meta` device.

Tensors on the `meta` device have shapes but no data, so counting needs no memory and no arithmetic.
A multiplication and the addition after it are two FLOPs. Only matrix products, convolutions and
attention are counted; other operations are negligible.

Recomputation by activation checkpointing or by fused attention is not counted.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lomar.models.architectures import as_size
from lomar.utils import type_name

IMAGES = 2  # batch size; a batch norm needs more than one image


@dataclass(frozen=True)
class ImageFlops:
    """FLOPs per image of the forward pass, and of a step (forward and backward pass)."""

    forward: float
    step: float


class _ModelFlops(FlopCounterMode):
    def _count_flops(self, func_packet, out, args, kwargs):
        # In the backward pass gradients are enabled only while a checkpoint recomputes.
        if self.mod_tracker.is_bw and torch.is_grad_enabled():
            return out
        return super()._count_flops(func_packet, out, args, kwargs)


def flops_of(fn: Callable) -> tuple[int, Any]:
    """Return the model FLOPs of a call without arguments, and its result.

    During the call, attention is computed by plain matrix products, because the backward pass of
    fused kernels recomputes a part of it. This is slow, and meant for the meta device.
    """
    with sdpa_kernel(SDPBackend.MATH), _ModelFlops(display=False) as counter:
        result = fn()
    return counter.get_total_flops(), result


def count(cfg: Config) -> ImageFlops:
    """Return the model FLOPs per image of a config's model, at `model.backbone.img_size`.

    For pretraining, this is the loss, over all regions that the pipeline cuts from an image. For a
    classifier, it is everything up to the logits. For a two-stage detector, it is backbone, neck,
    RPN head, box head for `model.train_cfg.rcnn.sampler.num` regions, and mask head for the maximum
    number of positive regions (`pos_fraction`), in every stage of a cascade. For other detectors it
    is everything up to the losses; DINO's denoising queries are left out. For a segmentor, it is
    everything up to the logits of all heads. Target assignment, NMS, RoIAlign, the sampling of
    deformable attention, and losses contain no matrix products.

    Raises:
        ValueError: a detector of another kind, or a model without an image size.
    """
    outputs = _outputs(cfg)
    init_default_scope(cfg.default_scope)
    size, settings = image_size(cfg), deepcopy(cfg.model)
    if type_name(settings) == 'ImageClassifier':
        settings.train_cfg = None  # Mixup and CutMix, about which mmpretrain logs a line
    with torch.device('meta'):
        model = MODELS.build(settings).train()
        images = torch.empty(IMAGES, cfg.model.backbone.get('in_channels', 3), *size)
        forward, result = flops_of(lambda: outputs(model, images))
        backward, _ = flops_of(result.backward)
    files = IMAGES / regions_of_file(cfg)
    return ImageFlops(forward / files, (forward + backward) / files)


def regions_of_file(cfg: Config) -> int:
    """Return the model inputs per image: `number` if the pipeline cuts regions, else 1."""
    steps = cfg.get('train_dataloader', {}).get('dataset', {}).get('pipeline', ())
    return next((step.number for step in steps if type_name(step) in REGIONS), 1)


def image_size(cfg: Config) -> tuple[int, int]:
    """Return height and width in pixels of a config's training images."""
    size = cfg.model.get('backbone', {}).get('img_size')
    if size is None:
        raise ValueError(
            f'model.backbone.img_size is missing (model.type is {cfg.model.type}); set it to the '
            'side of the training images in pixels, or to (height, width)'
        )
    return as_size('img_size', size)


def _outputs(cfg: Config) -> Callable[[Any, Tensor], Tensor]:
    """Return the function of a model and images whose FLOPs are counted."""
    if cfg.default_scope != 'mmdet':
        return OUTPUTS.get(cfg.model.type, _loss)
    if cfg.model.type not in DETECTORS:
        raise ValueError(
            f'model.type is {cfg.model.type}; FLOPs of detectors are counted for '
            f'{", ".join(DETECTORS)}'
        )
    from lomar.cost import detectors

    return getattr(detectors, DETECTORS[cfg.model.type])


def _loss(model: BaseModel, images: Tensor) -> Tensor:
    return model.parse_losses(model(images, None, mode='loss'))[0]


def _logits(model: BaseModel, images: Tensor) -> Tensor:
    # Not the loss, which reads the labels; tensors on the meta device have no values.
    return model(images, mode='tensor').sum()


def _segmentor(model: BaseModel, images: Tensor) -> Tensor:
    """Return the sum of the logits of all heads of mmseg's model."""
    features = model.extract_feat(images)
    found = getattr(model, 'auxiliary_head', None)
    others = found if isinstance(found, nn.ModuleList) else [found] if found else []
    return sum(head(features).sum() for head in (model.decode_head, *others))


REGIONS = ('LoadWindows', 'LoadRegions', 'LoadCropRegions')
# Detectors by the function of lomar.cost.detectors, which imports mmdet.
DETECTORS = dict(
    FasterRCNN='two_stages',
    MaskRCNN='two_stages',
    CascadeRCNN='two_stages',
    RetinaNet='dense',
    FCOS='dense',
    ATSS='dense',
    RTMDet='dense',
    DINO='dino',
    Mask2Former='mask2former',
)
OUTPUTS = dict(ImageClassifier=_logits, EncoderDecoder=_segmentor)
