"""Extraction of the state dict from the content of a checkpoint."""

import torch
from mmengine.logging import print_log
from torch import Tensor

from lomar.checkpoints.names import strip_wrappers
from lomar.models.weight_values import check_values
from lomar.utils import check_choice

# Keys of state dicts: of mmengine, timm and PyTorch; of MAE, LoMaR and detectron2; of DeepSpeed.
KEYS = dict(plain=('state_dict', 'model', 'module'), ema=('state_dict_ema', 'model_ema'))


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
        raise ValueError(
            f"weights is 'ema', but the file has none of the keys {', '.join(KEYS['ema'])}"
        )
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


def shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    """Return the shape of each weight."""
    return {name: value.shape for name, value in weights.items()}


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
