"""Outputs of mmdet's detectors on the `meta` device, for counting FLOPs.

The functions call the layers of a detector with inputs of the shapes that they have in training.
They may change the detector, which is built for the count alone. Deformable attention and some
positions of mmdet need values, which tensors on this device lack; these parts contain no matrix
products beside the ones called here.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention
from mmengine.model import BaseModule
from torch import Tensor
from torch.utils._pytree import tree_leaves


def two_stages(model: Any, images: Tensor) -> Tensor:
    """Return the sum of all outputs that the losses of a two-stage detector or a cascade use.

    Every box head gets `sampler.num` regions, and every mask head the maximum number of positive
    regions, `sampler.num * sampler.pos_fraction`.
    """
    outputs = list(tree_leaves(model.rpn_head(model.extract_feat(images))))
    head = model.roi_head
    settings = head.train_cfg if isinstance(head.train_cfg, list) else [head.train_cfg]
    for stage, setting in enumerate(settings):
        regions = len(images) * setting.sampler.num
        kinds = [('bbox', regions)]
        if head.with_mask:
            kinds.append(('mask', int(regions * setting.sampler.pos_fraction)))
        for kind, number in kinds:
            extractor, of_kind = (
                _of_stage(getattr(head, f'{kind}_{part}'), stage)
                for part in ('roi_extractor', 'head')
            )
            outputs.extend(tree_leaves(of_kind(_regions(extractor, number))))
    return _sum(outputs)


def dense(model: Any, images: Tensor) -> Tensor:
    """Return the sum of all outputs of a one-stage detector, such as FCOS and RTMDet."""
    return _sum(tree_leaves(model.bbox_head(model.extract_feat(images))))


def dino(model: Any, images: Tensor) -> Tensor:
    """Return the sum of all outputs of DINO, without its denoising queries."""
    levels = model.extract_feat(images)
    memory = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
    _leave_out_sampling(model)
    for layer in model.encoder.layers:
        memory = layer(memory, query_pos=torch.empty_like(memory), key_padding_mask=None)
    proposals = model.memory_trans_norm(model.memory_trans_fc(memory))
    heads = model.bbox_head
    outputs = [heads.cls_branches[-1](proposals), heads.reg_branches[-1](proposals)]
    query = model.query_embedding.weight.expand(len(images), -1, -1)
    for i, layer in enumerate(model.decoder.layers):
        boxes = query.new_empty(*query.shape[:2], 2 * query.shape[2])  # encoded
        query = layer(query, query_pos=model.decoder.ref_point_head(boxes), value=memory)
        state = model.decoder.norm(query)
        # The decoder refines boxes by the same branch that predicts them.
        outputs += [heads.reg_branches[i](one) for one in (query, state)]
        outputs.append(heads.cls_branches[i](state))
    return _sum(outputs)


def mask2former(model: Any, images: Tensor) -> Tensor:
    """Return the sum of all outputs of Mask2Former."""
    levels, head = model.extract_feat(images), model.panoptic_head
    _leave_out_sampling(model)
    head.pixel_decoder.forward = partial(_decoded, head.pixel_decoder)
    return _sum(tree_leaves(head(levels, None)))


def _decoded(decoder: Any, levels: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
    """Return the mask features and the levels of Mask2Former's pixel decoder, coarsest first."""
    count = decoder.num_encoder_levels
    coarse = [convolve(x) for convolve, x in zip(decoder.input_convs, levels[::-1], strict=False)]
    memory = torch.cat([level.flatten(2).transpose(1, 2) for level in coarse], dim=1)
    for layer in decoder.encoder.layers:
        memory = layer(memory, query_pos=torch.empty_like(memory), key_padding_mask=None)
    parts = memory.transpose(1, 2).split([level.shape[2:].numel() for level in coarse], dim=2)
    outputs = [part.reshape(level.shape) for part, level in zip(parts, coarse, strict=True)]
    for i in reversed(range(len(levels) - count)):
        lateral = decoder.lateral_convs[i](levels[i])
        raised = torch.nn.functional.interpolate(outputs[-1], lateral.shape[2:])
        outputs.append(decoder.output_convs[i](lateral + raised))
    return decoder.mask_feature(outputs[-1]), outputs[: decoder.num_outs]


def _leave_out_sampling(model: Any) -> None:
    """Leave only the linear layers in the deformable attention of a model."""
    for part in model.modules():
        if isinstance(part, MultiScaleDeformableAttention):
            part.forward = partial(_projections, part)


def _projections(
    layer: Any, query: Tensor, value: Tensor | None = None, query_pos: Any = None, **_: Any
) -> Tensor:
    """Return a tensor like the output of deformable attention for queries (B, Q, C)."""
    placed = query if query_pos is None else query + query_pos
    sampled = layer.value_proj(query if value is None else value).mean(1, keepdim=True)
    for chosen in (layer.sampling_offsets(placed), layer.attention_weights(placed)):
        sampled = sampled + chosen.mean(-1, keepdim=True)
    return layer.output_proj(sampled) + query


def _of_stage(parts: Any, stage: int) -> Any:
    return parts[stage] if isinstance(parts, torch.nn.ModuleList) else parts


def _regions(extractor: BaseModule, number: int) -> Tensor:
    """Return a tensor like the output of RoIAlign, which requires gradients."""
    size = extractor.roi_layers[0].output_size
    return torch.empty(number, extractor.out_channels, *size, requires_grad=True)


def _sum(outputs: Iterable[Tensor]) -> Tensor:
    return torch.stack([output.sum() for output in outputs]).sum()
