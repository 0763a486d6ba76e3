"""Mixed precision on every device, in the same dtype for training and testing.

mmengine's `AmpOptimWrapper` raises an error on a CPU, and mmengine's test loops use fp16 even if
the training used bf16.
"""

from contextlib import AbstractContextManager, contextmanager

import mmengine.runner.loops
import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

from lomar.utils import check_choice

DTYPES = dict(bfloat16=torch.bfloat16, float16=torch.float16)


def device_type() -> str:
    """Return the type of mmengine's device, 'cuda' or 'cpu'."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def mixed_dtype(dtype: str | None = None, key: str = 'optim_wrapper.dtype') -> torch.dtype | None:
    """Return the dtype of mixed precision on this machine, or None for float32.

    The dtype is bf16 if the GPU or CPU has bf16 instructions, otherwise fp16 on a GPU and None on a
    CPU. GPUs before Ampere emulate bf16 slowly.

    Args:
        dtype: 'bfloat16' or 'float16' to override the choice.
        key: config key of `dtype`, for error messages.
    """
    if dtype is not None:
        check_choice(key, dtype, DTYPES)
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return DTYPES[dtype or ('bfloat16' if native else 'float16')]
    if dtype == 'float16':
        raise ValueError(f"{key} is 'float16', which needs a GPU; allowed: bfloat16")
    if dtype == 'bfloat16' or torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return None


class BFloat16OptimWrapper(OptimWrapper):
    """Optimizer wrapper for bf16 autocast without loss scaling; bf16 has the range of float32."""

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast(device_type(), torch.bfloat16):
            yield


def amp_optim_wrapper(
    loss_scale: str | float | dict = 'dynamic', dtype: str | None = None, **kwargs
) -> OptimWrapper:
    """Return the optimizer wrapper for `mixed_dtype(dtype)`; `loss_scale` is used for fp16 only."""
    chosen = mixed_dtype(dtype)
    if chosen is None:
        print_log(
            'AmpOptimWrapper: float32, as no GPU was found and the CPU lacks bf16', logger='current'
        )
        return OptimWrapper(**kwargs)
    if chosen == torch.bfloat16:
        return BFloat16OptimWrapper(**kwargs)
    return AmpOptimWrapper(loss_scale=loss_scale, dtype='float16', **kwargs)


def loop_autocast(enabled: bool | str) -> AbstractContextManager:
    """Return the autocast context of mmengine's validation and test loops, in the training's dtype.

    Args:
        enabled: `fp16` of `val_cfg` or `test_cfg`: whether to use mixed precision, or its dtype.
    """
    chosen = enabled if isinstance(enabled, str) else None
    dtype = mixed_dtype(chosen, 'fp16 of val_cfg or test_cfg') if enabled else None
    return torch.autocast(device_type(), dtype, enabled=dtype is not None)


def apply() -> None:
    """Replace the registered `AmpOptimWrapper`, and the autocast of mmengine's loops."""
    OPTIM_WRAPPERS.register_module('AmpOptimWrapper', force=True, module=amp_optim_wrapper)
    mmengine.runner.loops.autocast = loop_autocast
