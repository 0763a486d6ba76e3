"""Folders with model.safetensors and config.json, as `lomar publish` and timm write them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from lomar.checkpoints.config_reader import LONGEST
from lomar.checkpoints.json_values import CONFIG, decode, encode

WEIGHTS = 'model.safetensors'
SECTION = 'lomar'  # the part of config.json that this package reads; timm reads the other parts
FORMAT = 1  # of the section
TIMM = 'timm'  # in `meta` of a folder of timm: its normalization, as a part of a config
ALLOWED = f'allowed: a folder with {CONFIG} and {WEIGHTS}, as `lomar publish` writes it'


def folder_of(path: Path) -> Path | None:
    """Return the published folder that a path names, itself or by its weights; None for others.

    Raises:
        ValueError: the folder has weights, and no config.json.
    """
    if not path.is_dir():
        beside = path.name == WEIGHTS and (path.parent / CONFIG).is_file()
        return path.parent if beside else None
    if not (path / WEIGHTS).is_file():
        return None
    if not (path / CONFIG).is_file():
        alone = f'or {path / WEIGHTS} for the weights alone'
        raise ValueError(f'checkpoint {path} is a folder without {CONFIG}; {ALLOWED}, {alone}')
    return path


def weights_file(path: str | Path) -> Path:
    """Return the file with the weights of a checkpoint: of a folder, its model.safetensors."""
    path = Path(path).expanduser()
    return path / WEIGHTS if path.is_dir() else path


def read_folder(folder: Path, read_weights: Callable[[Path], dict[str, Tensor]]) -> dict[str, Any]:
    """Return the content of a published folder as that of a training checkpoint.

    The content of a folder of another program is that of its weights alone. A folder of timm that
    states mean and std also has `meta`, with a part of a config under `TIMM`.

    Args:
        read_weights: function that returns the state dict in a .safetensors file.

    Raises:
        ValueError: config.json is damaged, or has other values than `lomar publish` writes.
    """
    try:
        whole = _json_object(folder / CONFIG)
        section = _section(whole)
        weights = read_weights(folder / WEIGHTS)
        if section is None:
            stated = _timm_normalization(whole)
            if not stated:
                return weights
            return dict(meta={TIMM: dict(data_preprocessor=stated)}, state_dict=weights)
        config, meta = (decode(section.get(key)) for key in ('config', 'meta'))
        if not isinstance(config, dict) or not isinstance(meta, dict):
            raise ValueError(f"'{SECTION}' has no config and meta; {ALLOWED}")
    except (ValueError, RecursionError) as error:
        if str(folder) in str(error):
            raise
        raise ValueError(f'checkpoint {folder}: {CONFIG} was refused: {error}') from error
    # Readers of all checkpoints take the config as text, and admit plain values only.
    text = ''.join(f'{key} = {value!r}\n' for key, value in config.items())
    return dict(meta=dict(meta, cfg=text), state_dict=weights)


def as_section(config: dict, meta: dict) -> dict[str, Any]:
    """Return the part of config.json from which `read_folder` returns the config and `meta`.

    Raises:
        ValueError: a value is not plain, see `encode`.
    """
    return dict(format=FORMAT, config=encode(config, 'config'), meta=encode(meta, 'meta'))


def _json_object(path: Path) -> dict[str, Any]:
    """Return the content of config.json."""
    if (size := path.stat().st_size) > LONGEST:
        raise ValueError(f'{size} bytes found; allowed: {LONGEST}')
    content = json.loads(path.read_text(encoding='utf-8'))
    if not isinstance(content, dict):
        raise ValueError(f'{type(content).__name__} found; allowed: a JSON object')
    return content


def _section(content: dict[str, Any]) -> dict[str, Any] | None:
    """Return the section of this package in config.json; None if another program wrote the file."""
    section = content.get(SECTION)
    if section is not None and not isinstance(section, dict):
        raise ValueError(f"'{SECTION}' is {type(section).__name__}; allowed: a JSON object")
    if section is not None and section.get('format') != FORMAT:
        raise ValueError(
            f"'{SECTION}' has the format {section.get('format')!r}; allowed: {FORMAT} (a newer "
            'version of this package may have written it)'
        )
    return section


def _timm_normalization(content: dict[str, Any]) -> dict[str, list[float]]:
    """Return mean and std that timm's config.json states, for pixels of 0 to 255."""
    if 'architecture' not in content:  # another program's file
        return {}
    place = 'pretrained_cfg.' if 'pretrained_cfg' in content else ''  # missing in older versions
    given = content['pretrained_cfg'] if place else content
    given = given if isinstance(given, dict) else {}
    stated = {key: given[key] for key in ('mean', 'std') if given.get(key) is not None}
    for key, numbers in stated.items():
        known = isinstance(numbers, list) and all(type(each) in (int, float) for each in numbers)
        if not known or not all(abs(each) < 1e6 for each in numbers):
            raise ValueError(
                f'{place}{key} is {numbers!r:.80}; allowed: one number per channel, for '
                'pixels of 0 to 1'
            )
    # 123.675, and not 123.67499999999998
    return {key: [round(255 * each, 4) for each in numbers] for key, numbers in stated.items()}
