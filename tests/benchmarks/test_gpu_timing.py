"""What shows on a GPU only: memory, synchronisation, number formats, devices of tensors."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks.gpu import work as gpu
from benchmarks.loading import ways as loading
from benchmarks.speed import steps, timing
from benchmarks.speed.contenders import CONTENDERS, build
from lomar import provenance
from lomar.models import rpe
from lomar.models.architectures import ARCHS


def test_memory_that_pytorch_keeps_is_free(monkeypatch):
    for name, value in (
        ('is_available', True), ('mem_get_info', (100, 1000)), ('memory_reserved', 70),
        ('memory_allocated', 20),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert timing.free_memory() == 150


def test_peak_memory_counts_the_gradients(monkeypatch):
    model = nn.Linear(8, 8)
    contender = steps.Contender(model, lambda x: model(x).sum(), model, [])
    one = steps.Steps(contender, steps.Setting('pretrain', 'tiny', 128), torch.ones(2, 8))
    one.step()  # leaves gradients, as the steps that were timed do

    def allocated():
        tensors = [t for p in model.parameters() for t in (p, p.grad) if t is not None]
        return sum(t.nbytes for t in tensors)

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: False)
    monkeypatch.setattr(torch.cuda, 'memory_allocated', allocated)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', allocated)
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda: None)
    assert steps.peak_bytes(one) == sum(p.nbytes for p in model.parameters())


def test_every_timed_step_is_synchronised(monkeypatch):
    events = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: events.append('wait'))
    clock = timing.time.perf_counter
    monkeypatch.setattr(timing.time, 'perf_counter', lambda: events.append('clock') or clock())
    timing.interleave(dict(a=lambda: events.append('a')), repeats=2, warmup=1)
    steps_of_one = ['wait', 'clock', 'a', 'wait', 'clock']
    kept = [event for event in events if event]
    assert kept == ['wait', 'clock', 'a', 'wait', *steps_of_one, *steps_of_one]


@pytest.mark.parametrize(('native', 'name'), [(True, 'bfloat16'), (False, 'float16')])
def test_the_number_format_is_one_that_the_gpu_has(native, name, monkeypatch):
    assert gpu.precision() == 'bfloat16'  # on a CPU, at toy size
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    # With emulation every GPU has bfloat16.
    monkeypatch.setattr(
        torch.cuda,
        'is_bf16_supported',
        lambda including_emulation=True: native or including_emulation,
    )
    assert gpu.precision() == name
    monkeypatch.undo()
    model = nn.Linear(8, 8)
    contender = steps.Contender(model, model, model, [])
    one = steps.Steps(contender, steps.Setting('pretrain', 'tiny', 128, name), torch.ones(1))
    assert one.autocast().fast_dtype == getattr(torch, name)


def test_a_build_without_nvjpeg_does_not_stop_loading(monkeypatch):
    def broken(paths):
        raise RuntimeError('The image.so extension was built without nvJPEG.\nmore')

    ways = loading.contenders()
    monkeypatch.setattr(loading, 'contenders', lambda: {**ways, loading.GPU: broken})
    made = loading.benchmark_loading(images=2, repeats=2, short_sides=())
    assert made['ways'][loading.GPU] == 'not run: The image.so extension was built without nvJPEG.'
    assert made['ways'][loading.BASELINE]['images_per_second'] > 0


def test_provenance_without_git(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    assert provenance.provenance()['commit'] is None


def on_cuda(model):
    """Put fake parameters and buffers in place of a model's, on a GPU that is not there."""
    for module in model.modules():
        for name, one in module._parameters.items():
            if one is not None:
                fake = torch.empty(one.shape, device='cuda')
                module._parameters[name] = nn.Parameter(fake, one.requires_grad)
        for name, one in module._buffers.items():
            if one is not None:
                module._buffers[name] = torch.empty(one.shape, dtype=one.dtype, device='cuda')
    return model


@pytest.mark.parametrize(
    ('task', 'name'),
    [*(('pretrain', name) for name in gpu.PRETRAIN), ('detect', 'irpe'), ('detect', 'decomposed')],
)
def test_layers_compile_as_a_whole(task, name, monkeypatch):
    """A graph that breaks in one of the contenders would make the comparison unfair."""
    monkeypatch.setitem(ARCHS, 'tiny', dict(embed_dim=48, depth=8, num_heads=3))
    contender = build(task, name, 'tiny', 128)
    torch.compiler.reset()
    for layer in contender.layers:
        layer.compile(fullgraph=True, dynamic=False, backend='eager')
    loss = contender.loss(torch.randn(1, 3, 128, 128))
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize(
    ('task', 'name'), [(task, name) for task in CONTENDERS for name in CONTENDERS[task]]
)
def test_losses_on_a_gpu_that_is_not_there(task, name, dtype, monkeypatch):
    """No tensor is on another device, and nothing waits for values of the GPU."""
    if name == 'irpe-flex':
        pytest.skip('its kernel is compiled for the GPU that is there')
    monkeypatch.setitem(ARCHS, 'tiny', dict(embed_dim=48, depth=4, num_heads=3))
    size = 128 if task == 'pretrain' else 528  # attention in parts
    contender = build(task, name, 'tiny', size)
    rpe._kept_bucket_ids.cache_clear()
    monkeypatch.setattr(steps.torch.optim, 'AdamW', lambda *args, **kwargs: None)
    with FakeTensorMode():
        on_cuda(contender.model)
        images = torch.randn(2, 3, size, size, device='cuda')
        setting = steps.Setting(task, 'tiny', size, dtype)
        # Without a driver, autocast would turn itself off.
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
        monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda *args, **kwargs: True)
        loss = steps.Steps(contender, setting, images).forward()
    rpe._kept_bucket_ids.cache_clear()
    assert loss.device.type == 'cuda' and loss.shape == ()
