"""Mixed precision on every device, in one type for training and testing.

mmengine's `AmpOptimWrapper` refuses to be built on a CPU, and its loops test in fp16 whatever the
training ran in.
"""

from contextlib import AbstractContextManager, contextmanager

import mmengine.runner.loops
import torch
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS

DTYPES = dict(bfloat16=torch.bfloat16, float16=torch.float16)


def device_type() -> str:
    """Return the device that mmengine runs models on, 'cuda' or 'cpu'."""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def mixed_dtype(dtype: str | None = None, key: str = 'optim_wrapper.dtype') -> torch.dtype | None:
    """Return the type of mixed precision on this machine; None stands for float32.

    bf16 where the GPU or CPU has it, else fp16 on a GPU: without bf16 instructions GPUs before
    Ampere emulate the type slowly, and fp16 is for GPUs.

    Args:
        dtype: 'bfloat16' or 'float16' to choose by hand.
        key: that of the config, for errors.

    Raises:
        ValueError: another type, or fp16 on a CPU.
    """
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"{key} is '{dtype}'; allowed: {', '.join(DTYPES)}")
    if torch.cuda.is_available():
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return DTYPES[dtype or ('bfloat16' if native else 'float16')]
    if dtype == 'float16':
        raise ValueError(f"{key} is 'float16', which is for GPUs; allowed: bfloat16")
    if dtype == 'bfloat16' or torch.cpu._is_avx512_bf16_supported():
        return torch.bfloat16
    return None


class BFloat16OptimWrapper(OptimWrapper):
    """bf16 autocast: the range of float32, so no loss scaling and no check for infinities."""

    @contextmanager
    def optim_context(self, model):
        with super().optim_context(model), torch.autocast(device_type(), torch.bfloat16):
            yield


def amp_optim_wrapper(
    loss_scale: str | float | dict = 'dynamic', dtype: str | None = None, **kwargs
) -> OptimWrapper:
    """Build the optimizer wrapper for mixed precision in the type of `mixed_dtype`.

    Args:
        loss_scale: for fp16 only, as in mmengine.
        dtype: 'bfloat16' or 'float16' to choose by hand.
    """
    chosen = mixed_dtype(dtype)
    if chosen is None:
        print_log('AmpOptimWrapper: no GPU, and no bf16 in this CPU: float32', logger='current')
        return OptimWrapper(**kwargs)
    if chosen == torch.bfloat16:
        return BFloat16OptimWrapper(**kwargs)
    return AmpOptimWrapper(loss_scale=loss_scale, dtype='float16', **kwargs)


def loop_autocast(enabled: bool | str) -> AbstractContextManager:
    """Autocast of mmengine's validation and test loops, in the type that training uses.

    Args:
        enabled: `fp16` of `val_cfg` or `test_cfg`: whether to use mixed precision, or its type.
    """
    chosen = enabled if isinstance(enabled, str) else None
    dtype = mixed_dtype(chosen, 'fp16 of val_cfg or test_cfg') if enabled else None
    return torch.autocast(device_type(), dtype, enabled=dtype is not None)


def apply() -> None:
    """Put both in mmengine's place, `amp_optim_wrapper` under the name that configs use."""
    OPTIM_WRAPPERS.register_module('AmpOptimWrapper', force=True, module=amp_optim_wrapper)
    mmengine.runner.loops.autocast = loop_autocast
