"""Check of the values of weights before a model loads them."""

import torch
from torch import Tensor

# Last parts of the names of weights that are real numbers; indices and counters have other names.
REAL = ('weight', 'bias', 'token', 'embed')


def check_values(weights: dict[str, Tensor]) -> None:
    """Raise a ValueError that names the weights that no model can use, and what to do."""
    wrong = [f'{name} {what}' for name, value in weights.items() if (what := _fault(name, value))]
    if wrong:
        more = f', and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise ValueError(
            f'{len(wrong)} of {len(weights)} weights cannot be used: {", ".join(wrong[:3])}{more}; '
            'allowed: finite real numbers. Name another file, such as an earlier checkpoint'
        )


def _fault(name: str, value: Tensor) -> str | None:
    """Return why a weight cannot be used, or None."""
    if value.is_quantized:
        return 'is quantized: save the weights of the model before its quantization'
    if value.is_meta or value.layout != torch.strided:
        return f'has no dense values ({value.device.type}, {value.layout})'
    if not value.numel():
        return (
            'is empty, as in the files of one process of DeepSpeed (ZeRO-3): run its '
            'zero_to_fp32.py, and name the file that this writes'
        )
    if not value.is_floating_point():
        is_weight = name.rpartition('.')[2].endswith(REAL)
        return f'has the type {value.dtype}' if is_weight or value.is_complex() else None
    # 8-bit floats have no `isfinite`. Attention masks are -inf.
    values = value.float() if value.dtype.itemsize == 1 else value
    bad = values.numel() - int(values.isfinite().sum())
    if bad and not name.endswith('mask'):
        return f'has {bad} NaN or infinite numbers of {value.numel()}'
    return None
