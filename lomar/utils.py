"""Shared helpers: atomic writes, JSON, hashes, checks of values, configs, random state."""

import hashlib
import json
import math
import os
import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

LONGEST_NAME = 143  # bytes, in all file systems: eCryptfs has this limit, others 255


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that replaces `path` when the block succeeds.

    The temporary file is flushed to disk before it is renamed, and removed after an error.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f'.{path.name}.part'  # always the same: what a killed process left is replaced
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f'.{hashlib.sha256(os.fsencode(path.name)).hexdigest()}.part'
    part = path.with_name(name)
    try:
        yield part
        with open(part, 'rb') as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def check_new(
    what: str,
    *paths: str | Path,
    overwrite: bool = False,
    inputs: Iterable[str | Path] = (),
) -> None:
    """Raise a ValueError if an output file exists without `overwrite`, or cannot be written.

    Commands call this function before their work, for all files that a flag names.

    Args:
        what: the flag or argument that names the files.
        inputs: files that the command reads, which it must not replace.
    """
    there = [str(path) for path in paths if os.path.lexists(path)]
    if folders := [path for path in there if os.path.isdir(path)]:
        raise ValueError(f'{what} {folders[0]} is a folder; allowed: the name of a file')
    existing = list(filter(os.path.exists, there))
    read = {_identity(path) for path in inputs if os.path.exists(path)} if existing else set()
    for file in existing:
        if _identity(file) in read:
            raise ValueError(f'{what} {file} is the source itself; allowed: another file')
    if there and not overwrite:
        raise ValueError(
            f'{what} {there[0]} is there already; --overwrite replaces it, or name another place'
        )
    for path in paths:
        folder = next(parent for parent in Path(path).absolute().parents if parent.exists())
        if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
            raise ValueError(f'{what} {path} cannot be written: {folder} is no writable folder')


def _identity(path: str | Path) -> tuple[int, int]:
    """Return device and inode, which are equal for two paths of one file."""
    status = os.stat(path)
    return status.st_dev, status.st_ino


def check_suffix(what: str, path: str | Path, allowed: Collection[str]) -> None:
    """Raise a ValueError unless the suffix of an output file, in any case, is allowed."""
    if (suffix := Path(path).suffix).lower() not in allowed:
        raise ValueError(f"{what} {path} ends in '{suffix}'; allowed: {', '.join(sorted(allowed))}")


def write_json(path: str | Path, content: Any, indent: int | None = 1) -> None:
    """Write JSON atomically; without `indent`, in one compact line."""
    separators = (',', ':') if indent is None else None
    with atomic_write(path) as part:
        text = json.dumps(content, indent=indent, separators=separators)
        part.write_text(text + '\n', encoding='utf-8')


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def type_name(node: Mapping) -> str:
    """Return the name of the class in `type`, which may be the class or its name with a scope."""
    kind = node.get('type')
    return str(getattr(kind, '__name__', kind)).rpartition('.')[2]


def preprocessor_of(config: Mapping) -> Mapping:
    """Return the settings of `data_preprocessor` in `model`, or beside it, as mmengine does."""
    return config['model'].get('data_preprocessor') or config.get('data_preprocessor') or {}


def inner_datasets(dataset: Any) -> Iterator[Any]:
    """Yield the datasets inside of wrappers such as `ConcatDataset`, or the dataset itself."""
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    if inner == [None]:
        yield dataset
        return
    for part in inner:
        yield from inner_datasets(part)


def unwrapped(model: Any) -> Any:
    """Return the model without wrappers for distributed runs and test-time augmentation."""
    from mmengine.model import BaseTTAModel, is_model_wrapper

    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the model in evaluation mode; restore its modes and random generators afterwards."""
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    with undisturbed_rng(device):
        try:
            model.eval()
            yield model
        finally:
            for module, training in modes.items():
                module.training = training


@contextmanager
def undisturbed_rng(device: torch.device | str = 'cpu') -> Iterator[None]:
    """Restore the global random generators of Python, NumPy and PyTorch afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if torch.device(device).type == 'cuda' else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def check_device(name: str) -> None:
    """Raise a ValueError if PyTorch cannot compute on the device of `--device`."""
    try:
        torch.empty(0, device=name)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f'--device {name} is not there: {error}') from error


def check_choice(key: str, value: object, allowed: Collection[str]) -> None:
    """Raise a ValueError unless the value of a config key is one of the allowed names."""
    if value not in [*allowed]:  # also a value that has no hash
        raise ValueError(f"{key} is '{value}'; allowed: {', '.join(allowed)}")


def check_least(owner: str, least: int = 1, **settings: object) -> None:
    """Raise a ValueError unless all settings of `owner` are integers of `least` or more.

    Args:
        owner: name of the config node or class, for the message.
    """
    for key, value in settings.items():
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not isinstance(value, Integral) or not whole or value < least:
            number = '' if whole else 'a whole number, '
            raise ValueError(f'{owner}.{key} is {value!r}; allowed: {number}{least} or more')


def check_number(key: str, value: object, least: float = 0, below: float = math.inf) -> None:
    """Raise a ValueError unless the value of a config key is a number in [least, below)."""
    if isinstance(value, bool) or not isinstance(value, Real) or not least <= float(value) < below:
        limits = f' of {least:g} or more' if least > -math.inf else ''
        limits += f' and less than {below:g}' if below < math.inf else ''
        raise ValueError(f'{key} is {value!r}; allowed: a number{limits}')


def check_range(key: str, value: object, most: float = math.inf) -> None:
    """Raise a ValueError unless the value of a config key is two numbers, 0 < low <= high."""
    pair = [*value] if isinstance(value, list | tuple) else []
    numbers = all(isinstance(one, Real) and not isinstance(one, bool) for one in pair)
    if len(pair) != 2 or not numbers or not 0 < pair[0] <= pair[1] <= most or pair[1] == math.inf:
        limit = f' <= {most:g}' if most < math.inf else ''
        raise ValueError(f'{key} is {value!r}; allowed: two numbers, 0 < low <= high{limit}')


def check_flags(owner: str, **settings: object) -> None:
    """Raise a ValueError unless all settings of `owner`, a config node or class, are booleans."""
    for key, value in settings.items():
        if not isinstance(value, bool):
            raise ValueError(f'{owner}.{key} is {value!r}; allowed: True or False')


def check_per_channel(owner: str, channels: int, **settings: Sequence[float]) -> None:
    """Raise a ValueError unless all settings of `owner` have one number, or one per channel."""
    for key, values in settings.items():
        if len(values) not in (1, channels):
            raise ValueError(
                f'{owner}.{key} is {list(values)}; allowed: one number, or one for each of the '
                f'{channels} channels'
            )


def dicts_in(node: object) -> Iterator[dict]:
    """Yield the dicts in a node of a config, at any depth, and the node if it is a dict."""
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    for child in node if isinstance(node, list | tuple) else ():
        yield from dicts_in(child)
