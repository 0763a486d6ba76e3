"""`torch.compile` traces what a step of training runs, without a break in the graph."""

import pytest
import torch
from conftest import TINY_ARCH, tiny_lomar
from mmengine.registry import MODELS, init_default_scope
from test_fake_cuda import MIXED, PRETRAINING, TARGETS, WINDOWS


def traced(function, *inputs):
    """Result of a function and of its only graph, with the same random numbers."""
    torch.compiler.reset()
    compiled = torch.compile(function, fullgraph=True, backend='eager')
    results = []
    for each in (function, compiled):
        torch.manual_seed(0)
        results.append(each(*inputs))
    return results


@pytest.mark.parametrize(('windows', 'target'), PRETRAINING)
def test_loss(windows, target):
    init_default_scope('mmpretrain')
    head = dict(type='WindowHead', target=TARGETS[target])
    model = tiny_lomar(windows=WINDOWS[windows], head=head)
    expected, found = traced(model.loss, torch.randn(2, 3, 64, 64))
    assert found['loss'].equal(expected['loss'])
    found['loss'].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_loss_of_mixed_sizes():
    images = [torch.randn(3, *size) for size in MIXED]
    expected, found = traced(tiny_lomar(windows=WINDOWS['sizes']).loss, images)
    assert found['loss'].equal(expected['loss'])


def test_windows():
    backbone = tiny_lomar().backbone
    expected, found = traced(
        backbone.encode_windows, torch.randn(2, 3, 9, 192), torch.rand(2, 3, 9) < 0.8
    )
    assert found.equal(expected)


@pytest.mark.parametrize('position', ['irpe', 'absolute', 'absolute+decomposed'])
@pytest.mark.parametrize('with_cp', [False, True], ids=['', 'with_cp'])
def test_blocks(position, with_cp):
    """At 36 x 36 patches: in windows of 14 with padding, and global, in parts."""
    settings = dict(arch=TINY_ARCH, img_size=36 * 8, patch_size=8, window_size=14)
    settings.update(global_blocks=(2,), with_cls_token=False, drop_path_rate=0.1)
    backbone = MODELS.build(
        dict(type='RPEViT', position=position, with_cp=with_cp, **settings)
    ).train()
    expected, found = traced(backbone.encode, torch.randn(1, 36 * 36, 48), (36, 36))
    assert found.equal(expected)
    found.sum().backward()
