"""Extraction of the state dict from the content of a checkpoint."""

from collections.abc import Iterable

import torch
from mmengine.logging import print_log
from torch import Tensor

from lomar.utils import check_choice

# Keys of state dicts: of mmengine, timm and PyTorch; of MAE, LoMaR and detectron2; of DeepSpeed.
KEYS = dict(plain=('state_dict', 'model', 'module'), ema=('state_dict_ema', 'model_ema'))
# Prefixes from DataParallel and Lightning. The prefix of torch.compile may be anywhere.
WRAPPERS = ('module.', 'model.')
# Last parts of the names of weights that are real numbers; indices and counters have other names.
REAL = ('weight', 'bias', 'token', 'embed')


def unwrap(content: dict, weights: str = 'plain') -> dict[str, Tensor]:
    """Return the state dict in the content of a checkpoint, without prefixes of wrappers.

    Args:
        content: result of `load_file`: a state dict, or a dict with a state dict in `KEYS`.
        weights: 'plain', or 'ema' for the exponential moving average.

    Raises:
        ValueError: `weights` has another value, the content has no such weights, or a weight is
            not a tensor of finite real numbers.
    """
    check_choice('weights', weights, KEYS)
    found = _state_dicts(content)
    if weights == 'ema' and 'ema' not in found:
        raise ValueError(f"weights is 'ema', but there is none of {', '.join(KEYS['ema'])}")
    if weights == 'plain' and 'ema' in found:
        line = (
            'The checkpoint holds plain weights and their moving average: the plain weights load. '
            "weights='ema', or a file converted with --weights ema, selects the average"
            if 'plain' in found
            else 'The checkpoint holds the moving average of the weights only, which loads'
        )
        print_log(line, logger='current')
    chosen = _checked(found.get(weights, found.get('ema')))
    check_values(chosen)
    return {name: chosen[own] for own, name in strip_wrappers(chosen).items()}


def check_values(weights: dict[str, Tensor]) -> None:
    """Raise a ValueError that names the weights that no model can use, and what to do."""
    wrong = [f'{name} {what}' for name, value in weights.items() if (what := _fault(name, value))]
    if wrong:
        more = f', and {len(wrong) - 3} more' if len(wrong) > 3 else ''
        raise ValueError(
            f'{len(wrong)} of {len(weights)} weights cannot be used: {", ".join(wrong[:3])}{more}; '
            'allowed: finite real numbers. Name another file, such as an earlier checkpoint'
        )


def shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shape of each weight."""
    return {name: value.shape for name, value in weights.items()}


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


def strip_wrappers(names: Iterable[str]) -> dict[str, str]:
    """Return each name without `_orig_mod.` and without wrapper prefixes that all names have."""
    stripped = {name: name.replace('_orig_mod.', '') for name in names}
    for prefix in WRAPPERS * len(WRAPPERS):  # in any order
        if all(name.startswith(prefix) for name in stripped.values()):
            stripped = {own: name.removeprefix(prefix) for own, name in stripped.items()}
    return stripped


def _state_dicts(content: object) -> dict[str, object]:
    """Return the innermost state dicts by kind; without a known key, the content as plain."""
    if not isinstance(content, dict):
        return {'plain': content}
    found: dict[str, object] = {}
    for kind, keys in KEYS.items():
        inner = next((content[key] for key in keys if isinstance(content.get(key), dict)), None)
        if inner is not None:
            below = _state_dicts(inner)
            found |= below if kind == 'plain' else {kind: below.get('plain', below.get(kind))}
    if 'plain' in found and 'ema_state_dict' in content:
        # mmengine's EMAHook exchanges the two: the average is under "state_dict".
        found['ema'] = found.pop('plain')
    return found or {'plain': content}


def _checked(weights: object) -> dict[str, Tensor]:
    """Return the weights; a ValueError if they are no state dict."""
    known = ', '.join(f'"{key}"' for keys in KEYS.values() for key in keys)
    allowed = f'allowed: a state dict as a whole, or under {known}'
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f'holds no state dict; {allowed}')
    wrong = [
        str(name)
        for name, value in weights.items()
        if not isinstance(name, str) or not isinstance(value, Tensor)
    ]
    if wrong:
        raise ValueError(f'holds no tensors under {", ".join(wrong[:6])}; {allowed}')
    return weights
