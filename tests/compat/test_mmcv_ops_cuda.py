"""What mmcv and mmdet call for tensors on a GPU only, run on the CPU against their CPU branch."""

import contextlib
import inspect
import sys

import pytest
import torch
from conftest import ROOT
from fake_cuda import CUDA, NEEDS_NUMBERS, Watch, fake_cuda
from gpu_branch import OnGPU, gpu_branch
from mmcv import ops
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttention
from mmdet.models.losses import FocalLoss
from mmdet.registry import MODELS, TASK_UTILS
from mmengine.config import Config
from mmengine.registry import WEIGHT_INITIALIZERS, init_default_scope
from torch import nn

from lomar.compat import mmcv_ops

pytestmark = pytest.mark.skipif(
    not isinstance(sys.modules['mmcv._ext'], mmcv_ops.Operators), reason='mmcv is compiled here'
)


@pytest.mark.parametrize('gamma', [0.0, 1.0, 2.0])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_focal_loss(gamma, dtype):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 6, generator=generator, dtype=dtype) * 4
    labels = torch.randint(7, (50,), generator=generator)  # 6 is the background
    weight = torch.rand(50, generator=generator, dtype=dtype)
    loss = FocalLoss(gamma=gamma, alpha=0.3)
    found, expected = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    with gpu_branch() as calls:
        there = loss(found.as_subclass(OnGPU), labels, weight, avg_factor=7)
        there.backward()
    assert calls == ['sigmoid_focal_loss_forward', 'sigmoid_focal_loss_backward']
    here = loss(expected, labels, weight, avg_factor=7)
    here.backward()
    # mmdet subtracts probabilities from 1, which loses digits of those near 1.
    rtol, atol = {torch.float32: (1e-5, 1e-8), torch.float64: (1e-10, 1e-16)}[dtype]
    torch.testing.assert_close(there.as_subclass(torch.Tensor), here, rtol=rtol, atol=0)
    torch.testing.assert_close(found.grad, expected.grad, rtol=rtol, atol=atol)


def test_focal_loss_of_certain_answers():
    """Far from zero the compiled operator cuts logarithms off; here losses stay exact, finite."""
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0]], requires_grad=True)
    loss = ops.sigmoid_focal_loss(logits, torch.tensor([0, 2]), 2.0, 0.25, None, 'none')
    assert loss.tolist() == [[0, 0], [0, 150]]  # (1 - alpha) * 200
    loss.sum().backward()
    assert logits.grad.tolist() == [[0, 0], [0, 0.75]]


def test_focal_loss_in_half_precision_and_with_class_weights():
    logits = torch.randn(50, 6).bfloat16()
    labels = torch.arange(50) % 7
    single = ops.sigmoid_focal_loss(logits.float(), labels, 2.0, 0.25, None, 'none')
    assert ops.sigmoid_focal_loss(logits, labels, 2.0, 0.25, None, 'none').equal(single.bfloat16())
    with pytest.raises(NotImplementedError, match=r'^sigmoid_focal_loss with a weight for each'):
        ops.sigmoid_focal_loss(logits, labels, 2.0, 0.25, torch.ones(6).bfloat16(), 'none')


def test_deformable_attention():
    torch.manual_seed(0)
    layer = MultiScaleDeformableAttention(embed_dims=16, num_heads=2, num_levels=2, num_points=3)
    torch.nn.init.normal_(layer.sampling_offsets.weight)  # initialised to zero
    torch.nn.init.normal_(layer.attention_weights.weight)
    shapes = torch.tensor([[4, 5], [2, 3]])
    places = dict(reference_points=torch.rand(2, 7, 2, 2), spatial_shapes=shapes)
    places['level_start_index'] = torch.tensor([0, 20])
    query, value = torch.randn(7, 2, 16), torch.randn(26, 2, 16)
    results = []
    for pretend in (False, True):
        layer.zero_grad()
        inputs = [x.clone().requires_grad_() for x in (query, value)]
        with gpu_branch() if pretend else contextlib.nullcontext([]) as calls:
            seen = [x.as_subclass(OnGPU) for x in inputs] if pretend else inputs
            output = layer.eval()(seen[0], value=seen[1], **places).as_subclass(torch.Tensor)
            output.square().sum().backward()
        assert calls == ['ms_deform_attn_forward', 'ms_deform_attn_backward'] * pretend
        results.append([output, *(x.grad for x in (*inputs, *layer.parameters()))])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_deformable_attention_is_float32_under_mixed_precision(dtype):
    torch.manual_seed(0)
    layer = MultiScaleDeformableAttention(embed_dims=16, num_heads=2, num_levels=1).eval()
    shapes, points = torch.tensor([[40, 50]]), torch.rand(2, 7, 1, 2)
    query, value = torch.randn(7, 2, 16).to(dtype), torch.randn(2000, 2, 16).to(dtype)
    places = dict(reference_points=points, spatial_shapes=shapes)
    expected = layer(query.float(), value=value.float(), **places)
    with torch.autocast('cpu', torch.bfloat16):
        assert layer(query, value=value, **places).equal(expected)


def test_soft_nms_gets_its_tensors_on_the_cpu():
    with fake_cuda(), gpu_branch() as calls, contextlib.suppress(*NEEDS_NUMBERS):
        ops.soft_nms(torch.zeros(3, 4, device=CUDA), torch.zeros(3, device=CUDA))
    assert calls == ['softnms']


def test_nothing_is_copied_to_the_gpu():
    with fake_cuda(), Watch() as watch:
        boxes, scores = torch.zeros(3, 4, device=CUDA), torch.zeros(3, device=CUDA)
        features, rois = torch.zeros(1, 2, 8, 8, device=CUDA), torch.zeros(3, 5, device=CUDA)
        assert ops.roi_align(features, rois, 7, 0.25, 0, 'avg', True).is_cuda
        gradient = torch.zeros_like(features)
        mmcv_ops.roi_align_backward(
            torch.zeros(3, 2, 7, 7, device=CUDA), rois, rois, rois, gradient, 7, 7, 0.25, 0, 1, True
        )
        logits, labels = features.view(-1, 8), torch.zeros(16, device=CUDA).long()
        mmcv_ops.sigmoid_focal_loss_forward(logits, labels, logits[:0], logits, 2.0, 0.25)
        mmcv_ops.sigmoid_focal_loss_backward(logits, labels, logits[:0], logits, 2.0, 0.25)
        assert watch.found == []
        with contextlib.suppress(*NEEDS_NUMBERS):
            mmcv_ops.nms(boxes, scores, 0.5, offset=1)
    assert not [line for line in watch.found if 'copy' in line]


def types(node):
    """Every type that a config names."""
    if isinstance(node, dict):
        yield from [node['type']] if isinstance(node.get('type'), str) else []
        node = node.values()
    if not isinstance(node, str) and hasattr(node, '__iter__'):
        for each in node:
            yield from types(each)


def test_parts_of_detectors_with_a_branch_for_gpus():
    """What `tests/detection/test_head_configs.py` compares in whole detectors."""
    names = set()
    for folder in ('detect', 'shapes'):
        for path in (ROOT / 'mmconfigs' / folder).glob('*_vitdet-*.py'):
            names |= set(types(Config.fromfile(path).model.to_dict())) - {'nms'}
    names -= set(WEIGHT_INITIALIZERS.module_dict)  # run on the CPU, before the model is moved
    init_default_scope('mmdet')
    assert {'MaskRCNN', 'RoIAlign', 'MaxIoUAssigner', 'DINO', 'HungarianAssigner'} <= names

    def branches(name):
        kind = getattr(ops, name, None) or getattr(nn, name, None)
        kind = kind or MODELS.get(name) or TASK_UTILS.get(name)
        source = inspect.getsource(sys.modules[kind.__module__])
        return 'is_cuda' in source or 'cuda.is_available' in source

    # The branch of the sampler puts an index on the GPU, for candidates that are a list.
    assert {name for name in names if branches(name)} == {'RandomSampler', 'FocalLoss'}
