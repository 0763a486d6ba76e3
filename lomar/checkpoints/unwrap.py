"""The state dict in a checkpoint of any project, without what is wrapped around it."""

from mmengine.logging import print_log
from torch import Tensor

# Keys of state dicts: of mmengine, timm and PyTorch; of MAE, LoMaR and detectron2; of DeepSpeed.
KEYS = dict(plain=('state_dict', 'model', 'module'), ema=('state_dict_ema', 'model_ema'))
# Prefixes of names: of DataParallel, of Lightning's modules, of torch.compile.
WRAPPERS = ('module.', 'model.', '_orig_mod.')


def unwrap(content: dict, weights: str = 'plain') -> dict[str, Tensor]:
    """Return the state dict in the content of a checkpoint, without the prefixes of wrappers.

    Args:
        content: what `load_file` returns, a state dict by itself or under one of `KEYS`.
        weights: 'plain', or 'ema' for the exponential moving average that is beside them.

    Raises:
        ValueError: another choice of weights, no such weights, or other things than tensors.
    """
    if weights not in KEYS:
        raise ValueError(f"weights is '{weights}'; allowed: {', '.join(KEYS)}")
    found = {kind: _under(content, keys) for kind, keys in KEYS.items()}
    if weights == 'ema' and found['ema'] is None:
        raise ValueError(f"weights is 'ema', but there is none of {', '.join(KEYS['ema'])}")
    if weights == 'plain' and found['plain'] is not None and found['ema'] is not None:
        print_log(
            'The checkpoint holds plain weights and their moving average: plain ones are taken; '
            "weights='ema' takes the average",
            logger='current',
        )
    chosen = found[weights]
    if chosen is None:
        chosen = content if found['ema'] is None else found['ema']
    _check(chosen)
    return strip_wrappers(chosen)


def strip_wrappers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Remove the prefixes of wrappers that all names have, and every `_orig_mod.`."""
    weights = {name.replace('_orig_mod.', ''): value for name, value in weights.items()}
    for prefix in WRAPPERS * 2:  # one may be in the other
        if all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _under(content: object, keys: tuple[str, ...]) -> dict | None:
    """Return the dict under the first of `keys` that has one; one may be in the other."""
    inner = next(
        (content[key] for key in keys if isinstance(content, dict) and _is_dict(content, key)), None
    )
    if inner is None:
        return None
    deeper = _under(inner, keys)
    return inner if deeper is None else deeper


def _is_dict(content: dict, key: str) -> bool:
    return isinstance(content.get(key), dict)


def _check(weights: object) -> None:
    known = ', '.join(f'"{key}"' for keys in KEYS.values() for key in keys)
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f'holds no state dict; allowed: one as a whole, or under {known}')
    wrong = [name for name, value in weights.items() if not isinstance(value, Tensor)]
    if wrong:
        raise ValueError(
            f'holds no tensors under {", ".join(map(str, wrong[:6]))}; allowed: a state dict as a '
            f'whole, or under {known}'
        )
