"""A CUDA device on any machine: tensors without numbers, and a list of what would make it wait.

A fake tensor has a shape, a type and a device. Operators on fake tensors check devices and shapes
and compute no numbers, so that `device='cuda'` works without a GPU.
"""

import traceback
from collections import defaultdict
from collections.abc import Callable
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lomar.models import rpe

aten = torch.ops.aten
CUDA = torch.device('cuda')
NEEDS_NUMBERS = (DataDependentOutputException, DynamicOutputShapeException)
ASKS_FOR_NUMBERS = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
READING = {aten.index.Tensor, aten._unsafe_index.Tensor}
INDEXING = {*READING, aten.index_put_.default, aten.index_put.default}
# A CPU tensor without dimensions is an argument of the kernel, except where it is copied.
COPIES = {aten._to_copy.default, aten.copy_.default, *INDEXING}
TASKS = count()
HERE = Path(__file__).name


class Watch(TorchDispatchMode):
    """Lists what the CPU or the GPU has to wait for.

    Attributes:
        found: copies between devices and operators that need numbers from the GPU, each with the
            line of code that called it.
        arriving: whether copies to the GPU are allowed that do not block the CPU.
    """

    supports_higher_order_operators = True  # FlexAttention is one

    def __init__(self):
        super().__init__()
        self.found: list[str] = []
        self.arriving = False

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        asks = any(x.is_cuda for x in tensors) and _asks_for_numbers(operator, args)
        if asks:  # listed first, as a fake tensor raises an error where numbers are needed
            self._list('synchronisation', operator)
        result = operator(*args, **kwargs)
        outputs = [x for x in tree_leaves(result) if isinstance(x, Tensor)]
        fills = operator in INDEXING and _fills(operator, args)
        if not (asks or fills) and self._copies(operator, tensors, outputs, kwargs):
            self._list('copy', operator)
        return result

    def _copies(self, operator, tensors: list, outputs: list, kwargs: dict) -> bool:
        if operator not in COPIES:
            tensors = [x for x in tensors if x.ndim or x.is_cuda]
        if len({x.device.type for x in (*tensors, *outputs)}) < 2:
            return False
        return not (self.arriving and outputs[0].is_cuda and kwargs.get('non_blocking'))

    def _list(self, kind: str, operator) -> None:
        frames = [f for f in traceback.extract_stack() if '/torch/' not in f.filename]
        frame = [f for f in frames if Path(f.filename).name != HERE][-1]
        self.found.append(f'{kind} by {operator} in {frame.filename}: {frame.line}')


def _asks_for_numbers(operator, args: tuple) -> bool:
    if operator not in INDEXING:
        return bool(ASKS_FOR_NUMBERS.intersection(getattr(operator, 'tags', ())))
    masks = [x for x in args[1] if x is not None and x.dtype == torch.bool]
    return bool(masks) and not _fills(operator, args)


def _fills(operator, args: tuple) -> bool:
    """Whether one number goes where a mask is true: `masked_fill_`, which counts nothing."""
    if operator in READING or args[2].numel() > 1 or args[2].is_cuda:
        return False
    return any(x is not None and x.dtype == torch.bool for x in args[1])


@contextmanager
def fake_cuda():
    """Make every new tensor a fake one, and PyTorch's functions report a GPU."""
    rpe._kept_bucket_ids.cache_clear()  # fake tensors and real ones must not meet
    with (
        FakeTensorMode(),
        # Both would use a real device where there is one.
        mock.patch('torch._subclasses.fake_tensor.init_gpu_context', create=True),
        mock.patch.object(FakeTensorMode, 'avoid_device_init', True, create=True),
        mock.patch('torch.cuda.is_available', return_value=True),
        mock.patch('torch.cuda.is_bf16_supported', return_value=True),
        mock.patch('torch.cuda.is_current_stream_capturing', return_value=False),
        mock.patch('mmengine.runner.amp.get_device', return_value='cuda'),
        mock.patch('torch.Tensor.backward', backward),
    ):
        try:
            yield
        finally:
            rpe._kept_bucket_ids.cache_clear()


def moved(module: nn.Module) -> nn.Module:
    """Put a module that was built outside of `fake_cuda` on the device, as `Module.to` does."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = nn.Parameter(_fake(value), value.requires_grad)
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = _fake(value)
    if hasattr(module, '_set_device'):  # of mmengine's models, for their preprocessors
        module._set_device(CUDA)
    return module


def _fake(value: Tensor) -> Tensor:
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=CUDA)


def backward(loss: Tensor) -> None:
    """Run the backward pass node by node; PyTorch's own engine starts a thread per real GPU."""
    missing, todo = defaultdict(int), [loss.grad_fn]
    for node in todo:
        for child, _ in node.next_functions:
            missing[child] += 1
            if child is not None and missing[child] == 1:
                todo.append(child)
    arrived, ready = defaultdict(dict, {loss.grad_fn: {0: torch.ones_like(loss)}}), [loss.grad_fn]
    # By this number activation checkpointing knows what it has recomputed.
    with mock.patch('torch._C._current_graph_task_id', return_value=next(TASKS)):
        while ready:
            node = ready.pop()
            inputs = arrived.pop(node, {})
            results = node(*(inputs.get(i) for i in range(len(node._input_metadata))))
            results = results if isinstance(results, tuple) else (results,)
            for (child, index), result in zip(node.next_functions, results, strict=True):
                if child is None:
                    continue
                if result is not None:
                    _add(arrived[child], index, result, child._input_metadata[index])
                missing[child] -= 1
                if not missing[child]:
                    ready.append(child)


def _add(gradients: dict[int, Tensor], index: int, gradient: Tensor, expected) -> None:
    gradient = gradient.sum_to_size(expected.shape).to(expected.dtype)
    gradients[index] = gradients[index] + gradient if index in gradients else gradient


def watched(step: Callable, preprocessor: nn.Module | None = None) -> list[str]:
    """What `step()` waits for, once a first call has filled the caches.

    Args:
        preprocessor: on its way through this module the batch may be copied to the GPU.
    """
    step()
    watch, hooks = Watch(), []
    if preprocessor is not None:
        before, after = (lambda *_, on=on: setattr(watch, 'arriving', on) for on in (True, False))
        hooks = [
            preprocessor.register_forward_pre_hook(before),
            preprocessor.register_forward_hook(after),
        ]
    try:
        with watch:
            step()
    finally:
        for hook in hooks:
            hook.remove()
    return watch.found
