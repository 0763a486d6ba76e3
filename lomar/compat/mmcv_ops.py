"""Replacement of mmcv's compiled operators with torchvision and plain PyTorch.

mmcv-lite has no `mmcv._ext`, so `import mmcv.ops` and `import mmdet` fail. This module replaces
`mmcv._ext` and has every operator name. An operator without a replacement raises an error only when
it is called.

mmdet's `FocalLoss` and mmcv's deformable attention call compiled operators only for tensors on a
GPU. For tensors on a CPU they use plain PyTorch.
"""

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

import torch
import torchvision
from torch import Tensor
from torch.nn.functional import logsigmoid

LINEAR, GAUSSIAN = 1, 2  # mmcv's numbers for the methods of Soft-NMS; 0 is naive
AVERAGE = 1  # mmcv's number for this pooling of RoIAlign; 0 is max


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Return the indices (K,) of the boxes (N, 4) that NMS keeps, by falling score (N,)."""
    # torchvision needs boxes and scores of one dtype; under autocast their dtypes differ.
    # torchvision compares with a double and mmcv with a float32, which matters if an IoU equals the
    # threshold.
    boxes, scores = boxes.float(), scores.float()
    threshold = torch.tensor(iou_threshold, dtype=torch.float32).item()
    boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torchvision.ops.nms(boxes, scores, threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Return the indices (K,) that Soft-NMS of boxes (N, 4) with scores (N,) keeps, best first.

    The boxes and their reduced scores are written to the first K rows of `dets` (N, 5). mmcv copies
    GPU tensors to the CPU before this call.
    """
    boxes, scores = boxes.float(), scores.to(torch.float32, copy=True)
    kept, rest = [], torch.arange(len(boxes))
    while len(rest):
        best = scores[rest].argmax()
        kept.append(int(rest[best]))
        rest[best] = rest[0]  # mmcv swaps; the order decides between equal scores
        rest = rest[1:]
        iou = _iou(boxes[kept[-1]], boxes[rest], offset)
        if method == GAUSSIAN:
            scores[rest] *= (-(iou * iou) / sigma).exp()
        else:
            weight = 1 - iou if method == LINEAR else torch.zeros_like(iou)
            scores[rest] *= torch.where(iou >= iou_threshold, weight, 1)
        rest = _drop(rest, scores[rest] < min_score)
    dets[: len(kept)] = torch.cat([boxes[kept], scores[kept, None]], dim=1)
    return torch.tensor(kept, dtype=torch.long)


def _iou(box: Tensor, boxes: Tensor, offset: int) -> Tensor:
    """Return the IoU of one box (4,) with others (N, 4); sums are in mmcv's order."""

    def extent(low, high):
        return high - low + offset

    area, areas = (extent(b[..., :2], b[..., 2:]).prod(-1) for b in (box, boxes))
    low, high = torch.maximum(box[:2], boxes[:, :2]), torch.minimum(box[2:], boxes[:, 2:])
    shared = extent(low, high).clamp(min=0).prod(-1)
    return shared / (area + areas - shared)


def _drop(items: Tensor, dropped: Tensor) -> Tensor:
    """Return the items (N,) that are not dropped, in mmcv's order: gaps are filled from the end."""
    count = len(items) - int(dropped.sum())
    left = items[:count].clone()
    left[dropped[:count]] = items[count:][~dropped[count:]].flip(0)
    return left


def roi_align_forward(
    features: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `output` (N, C, h, w) from features (B, C, H, W) and rois (N, 5); no argmax is left."""
    if pool_mode != AVERAGE:
        raise missing("RoIAlign with pool_mode='max'")
    # torchvision has no bfloat16 kernel. Autocast would help here, but not in the backward pass.
    dtype = torch.promote_types(features.dtype, torch.float32)
    size = (aligned_height, aligned_width)
    output.copy_(
        torchvision.ops.roi_align(
            features.to(dtype), rois.to(dtype), size, spatial_scale, sampling_ratio, aligned
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill `grad_input` (B, C, H, W) from `grad_output` (N, C, h, w) and rois (N, 5)."""
    dtype = torch.promote_types(grad_output.dtype, torch.float32)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad_output.to(dtype),
            rois.to(dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def sigmoid_focal_loss_forward(
    logits: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the focal losses of logits (N, C) to `output` (N, C); target C is the background."""
    logits, _, balance = _focal(logits, target, weight, alpha)
    output.copy_(-balance * (-logits).sigmoid().pow(gamma) * logsigmoid(logits))


def sigmoid_focal_loss_backward(
    logits: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of each loss with respect to its logit to `grad_input` (N, C)."""
    logits, sign, balance = _focal(logits, target, weight, alpha)
    right, wrong = logits.sigmoid(), (-logits).sigmoid()
    slope = wrong - gamma * right * logsigmoid(logits)
    grad_input.copy_(-sign * balance * wrong.pow(gamma) * slope)


def _focal(logits: Tensor, target: Tensor, weight: Tensor, alpha: float) -> tuple[Tensor, ...]:
    """Return logits of the correct binary decision per class, their sign, and the alpha weight."""
    if weight.numel():
        raise missing('sigmoid_focal_loss with a weight for each class')
    belongs = target[:, None] == torch.arange(logits.shape[1], device=logits.device)
    belongs = belongs.to(torch.promote_types(logits.dtype, torch.float32))
    sign = 2 * belongs - 1
    return logits * sign, sign, alpha * belongs + (1 - alpha) * (1 - belongs)


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Return multi-scale deformable attention (B, Q, D), computed by mmcv's PyTorch version."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    return multi_scale_deformable_attn_pytorch(
        value, spatial_shapes, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write gradients to the last three tensors; this runs a second forward pass."""
    inputs = [x.detach().requires_grad_() for x in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = ms_deform_attn_forward(
            inputs[0], spatial_shapes, level_start_index, inputs[1], inputs[2], im2col_step
        )
    gradients = torch.autograd.grad(output, inputs, grad_output)
    for filled, gradient in zip(
        (grad_value, grad_sampling_loc, grad_attn_weight), gradients, strict=True
    ):
        filled.copy_(gradient)


SUPPLIED = (
    *(nms, softnms, roi_align_forward, roi_align_backward),
    *(sigmoid_focal_loss_forward, sigmoid_focal_loss_backward),
    *(ms_deform_attn_forward, ms_deform_attn_backward),
)


def missing(name: str) -> NotImplementedError:
    """Return the error for an operator without a replacement."""
    # pip's isolated build has neither PyTorch, without which nothing is compiled, nor the
    # pkg_resources that mmcv's setup imports.
    return NotImplementedError(
        f'{name} needs the compiled operators of mmcv, which are not installed. With a C++ '
        'compiler (and the CUDA toolkit, for a GPU) they are built by: pip uninstall mmcv-lite; '
        "pip install 'setuptools>=77,<81' wheel; pip install --no-deps --no-build-isolation "
        '--no-binary :all: mmcv==2.1.0 (in the onedl stack: onedl-mmcv==2.3.6). Without one, '
        '`mim install mmcv==2.1.0` (pip install openmim) takes a ready wheel, if there is one for '
        'this PyTorch and Python.'
    )


class Operators(ModuleType):
    """Replacement of the module `mmcv._ext`; operators without a replacement raise an error."""

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):  # attributes that Python reads, such as __path__
            raise AttributeError(name)

        def operator(*args, **kwargs):
            raise missing(name)

        return operator


def apply() -> None:
    """Install `Operators` as `mmcv._ext`, unless the compiled module exists."""
    if find_spec('mmcv._ext') is not None:
        return
    module = Operators('mmcv._ext')
    # mmengine searches this module in the import system, which does not find it without a loader.
    module.__spec__ = ModuleSpec(module.__name__, loader=None)
    vars(module).update({operator.__name__: operator for operator in SUPPLIED})
    versions = ('get_compiler_version', 'get_compiling_cuda_version')  # of the environment report
    vars(module).update(dict.fromkeys(versions, lambda: 'not compiled'))
    sys.modules[module.__name__] = module
