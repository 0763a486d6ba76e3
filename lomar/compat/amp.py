"""`AmpOptimWrapper` on every device; mmengine's own refuses to be built on a CPU."""

from contextlib import contextmanager

import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS


class BFloat16OptimWrapper(OptimWrapper):
    """bf16 autocast: the range of float32, so no loss scaling and no check for infinities."""

    @contextmanager
    def optim_context(self, model):
        device = 'cuda' if torch.cuda.is_available() else 'cpu'
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield


def amp_optim_wrapper(
    loss_scale: str | float | dict = 'dynamic', dtype: str | None = None, **kwargs
) -> OptimWrapper:
    """Mixed precision for this machine: bf16 where the GPU or CPU has it, else fp16, or fp32.

    A CPU without bf16 instructions would be slower with it, and fp16 is for GPUs.

    Args:
        loss_scale: for fp16 only, as in mmengine.
        dtype: 'bfloat16' or 'float16' to choose by hand.
    """
    if not torch.cuda.is_available():
        if dtype == 'bfloat16' or torch.cpu._is_avx512_bf16_supported():
            return BFloat16OptimWrapper(**kwargs)
        print_log('AmpOptimWrapper: no GPU, and no bf16 in this CPU: float32', logger='current')
        return OptimWrapper(**kwargs)
    dtype = dtype or ('bfloat16' if torch.cuda.is_bf16_supported() else 'float16')
    if dtype == 'bfloat16':
        return BFloat16OptimWrapper(**kwargs)
    return AmpOptimWrapper(loss_scale=loss_scale, dtype=dtype, **kwargs)


def apply() -> None:
    """Put `amp_optim_wrapper` in the registry under the name that configs use."""
    OPTIM_WRAPPERS.register_module('AmpOptimWrapper', force=True, module=amp_optim_wrapper)
