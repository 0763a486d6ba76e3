"""The branch of mmcv and mmdet for tensors on a GPU, run on the CPU, and the operators it calls."""

import contextlib
import sys
from unittest import mock

import torch

from lomar.compat import mmcv_ops


@contextlib.contextmanager
def called_operators():
    """List the names of mmcv's operators that are called, as often as they are called."""
    module, calls = sys.modules['mmcv._ext'], []

    def spied(operator):
        def call(*args, **kwargs):
            calls.append(operator.__name__)
            return operator(*args, **kwargs)

        return call

    with contextlib.ExitStack() as stack:
        for operator in mmcv_ops.SUPPLIED:
            patch = mock.patch.object(module, operator.__name__, spied(operator))
            stack.enter_context(patch)
        yield calls


@contextlib.contextmanager
def gpu_branch(everywhere=False):
    """Make mmcv and mmdet take the branch for a GPU, and list the operators that they call.

    Args:
        everywhere: whether all tensors say that they are on a GPU; otherwise only those of `OnGPU`.
    """
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        enter(mock.patch('torch.cuda.is_available', return_value=True))
        enter(mock.patch('mmcv.ops.multi_scale_deform_attn.IS_CUDA_AVAILABLE', True))
        if everywhere:
            enter(mock.patch.object(torch.Tensor, 'is_cuda', True, create=True))
        yield enter(called_operators())


class OnGPU(torch.Tensor):
    """A CPU tensor that says it is on a GPU, and whose results say so."""

    is_cuda = True
