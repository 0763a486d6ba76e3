"""Reading of checkpoint files: weights only, so that no code in a file is executed."""

import argparse
import pickle
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from textwrap import shorten
from threading import RLock
from typing import Any
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from safetensors import SafetensorError
from safetensors.torch import load_file as load_safetensors
from torch import Tensor

from lomar.checkpoints.config_reader import read_configs
from lomar.checkpoints.file_kinds import check_kind, is_safetensors
from lomar.checkpoints.hub import download, is_hub_name
from lomar.checkpoints.published import folder_of, read_folder
from lomar.models.weight_values import check_values

# Private functions that rebuild arrays and scalars; `__reduce__` gives those of any NumPy.
_REBUILT = {'_reconstruct': np.empty(0), 'scalar': np.float64()}


def _history_method(owner: type, name: str):
    """Replace `getattr` in pickles of mmengine's history buffers; refuse all other uses."""
    if owner is HistoryBuffer and name in ('min', 'max', 'current', 'mean', 'data'):
        return getattr(owner, name)
    raise pickle.UnpicklingError(f'getattr of {owner!r} and {name!r} is not allowed')


LOADING = RLock()  # held while PyTorch's list of allowed objects is changed
# For weights of another model.
OWN_CONFIG = 'Use the config that the training saved in its work dir.'
ADVICE = (
    'If you trust its origin, save the weights alone: '
    "torch.save({'state_dict': model.state_dict()}, ...)"
)
# Plain data that training checkpoints of mmengine and of the original code contain.
ALLOWED = [
    HistoryBuffer,
    (_history_method, 'builtins.getattr'),
    OrderedDict,
    defaultdict,
    argparse.Namespace,
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in '?bBhHiIlLqQefd'},
    # NumPy 2 moved these; a file carries the name of the version that wrote it.
    *((value.__reduce__()[0], f'numpy.{core}.multiarray.{name}')
      for name, value in _REBUILT.items() for core in ('core', '_core')),
    # Types in default dicts and in mmengine's message hub.
    dict, list, int, float,
]  # fmt: skip


def load_file(path: str | Path, map_location='cpu') -> dict:
    """Read a checkpoint: a file, a published folder, or a repository of the Hugging Face Hub.

    Files are those of `torch.save` and .safetensors files, whatever their names are. The content
    of a folder that `lomar publish` wrote is that of a training checkpoint, with the keys
    'state_dict' and 'meta'.

    Args:
        path: file or folder; hf://ORG/NAME or hf://ORG/NAME@REVISION for the hub.
        map_location: as in `torch.load`.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is of another kind (see `check_kind`), is damaged, contains anything
            but tensors and plain data or a config whose text is more than plain values, or holds
            something other than a dict; or the hub has no such repository.
    """
    if is_hub_name(path):
        with naming(path):
            return load_file(download(path), map_location)
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f'checkpoint {path} does not exist')
    try:
        folder = folder_of(path)
        if folder is None:
            check_kind(path)
        if folder or is_safetensors(path):
            read = partial(load_safetensors, device=str(torch.device(map_location or 'cpu')))
            content: Any = read_folder(folder, read) if folder else read(path)
        else:
            content = _load_torch(path, map_location)
    except PermissionError as error:
        raise ValueError(f'checkpoint {path} cannot be read: {error.strerror}') from error
    except (RuntimeError, EOFError, OSError, SafetensorError, pickle.UnpicklingError) as error:
        raise ValueError(_refusal(path, error)) from error
    return _checked(path, content)


@contextmanager
def _allowed() -> Iterator[None]:
    """Let PyTorch load objects that are `ALLOWED`; other threads wait."""
    with LOADING, torch.serialization.safe_globals(ALLOWED):
        yield


def _load_torch(path: Path, map_location) -> Any:
    """Return the content of a file of `torch.save`."""
    try:
        with _allowed():
            return torch.load(path, map_location=map_location, weights_only=True)
    except (OSError, pickle.UnpicklingError):
        raise
    except Exception as error:  # on damaged bytes, the unpickler raises all sorts
        raise RuntimeError(str(error) or type(error).__name__) from error


def _refusal(path: Path, error: Exception) -> str:
    """Return the message for a file that PyTorch could not read or refused."""
    # For a plain pickle, torch's error only mentions a magic number.
    if not isinstance(error, pickle.UnpicklingError) and 'magic number' not in str(error):
        return f'checkpoint {path} cannot be read, it may be cut off: {str(error).splitlines()[0]}'
    culprit = re.search(r'GLOBAL (\S+)', str(error))
    reason = f'it mentions {culprit[1]}' if culprit else str(error).splitlines()[0]
    return (
        f"checkpoint {path} was refused: it is not a PyTorch file (detectron2's .pkl files are "
        'not), or it holds objects other than tensors and plain data, such as a whole model, '
        f'which could run code ({reason}). {ADVICE}'
    )


def _checked(name: str | Path, content: object) -> dict:
    """Return the content of a file.

    Raises:
        ValueError: the content is no dict, or a stored config is more than values, because
            OpenMMLab executes its text.
    """
    if not isinstance(content, dict):
        what = 'a tensor' if isinstance(content, Tensor) else type(content).__name__
        raise ValueError(
            f'checkpoint {name}: holds no state dict but {what}; allowed: a state dict, as '
            "torch.save({'state_dict': model.state_dict()}, FILE) writes it"
        )
    try:
        read_configs(content)
    except ValueError as error:
        raise ValueError(f'checkpoint {name} was refused: {error}. {ADVICE}') from None
    return content


@contextmanager
def naming(what: str | Path) -> Iterator[None]:
    """Prepend a file name or a purpose to the message of a ValueError that does not have it."""
    try:
        yield
    except ValueError as error:
        if str(what) in str(error):
            raise
        raise type(error)(f'{what}: {error}') from error


@contextmanager
def misfit_as_value_error(advice: str | None = None) -> Iterator[None]:
    """Turn PyTorch's RuntimeError on weights that do not fit the model into a ValueError.

    Args:
        advice: last line of the message, such as `OWN_CONFIG`.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith('Error(s) in loading state_dict'):
            raise
        lines = [shorten(line, 500, placeholder=' ...') for line in str(error).splitlines()]
        more = [f'... and {len(lines) - 6} more'] if len(lines) > 6 else []
        lines = [*lines[:6], *more, *([advice] if advice else [])]  # PyTorch: a line per weight
        text = '\n    '.join(lines)
        raise ValueError(f'the weights do not fit the model: {text}') from error


def load_url(url: str, **kwargs) -> dict:
    """Download weights as `torch.hub.load_state_dict_from_url` does, weights only.

    Raises:
        ValueError: the downloaded file is refused, see `load_file`.
    """
    try:
        with _allowed():
            content = torch.hub.load_state_dict_from_url(url, weights_only=True, **kwargs)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError):
        folder = kwargs.get('model_dir') or Path(torch.hub.get_dir(), 'checkpoints')
        path = Path(folder, Path(urlparse(url).path).name)
        try:
            load_file(path)
        except FileNotFoundError:
            pass  # the download failed
        except ValueError as error:
            what = f'{url}: {error}. Delete {path} before you download it again'
            raise ValueError(what) from error
        raise
    return _without_text(_checked(url, content))


def load_from_disk(path: str, map_location=None) -> dict:
    """Return `load_file(path)` with usable weights; mmengine logs this name after `load_from_`."""
    content = _without_text(load_file(path, map_location))
    found = content.get('state_dict')
    weights = found if isinstance(found, dict) else content
    with naming(path):
        check_values({name: value for name, value in weights.items() if isinstance(value, Tensor)})
    return content


def _without_text(content: dict) -> dict:
    """Remove the config of mmcv's checkpoints, which mmengine executes if it resumes a run.

    Even a text without code is unsafe, as mmengine replaces parts of it before the execution.
    """
    meta = content.get('meta')
    if isinstance(meta, dict):
        meta.pop('config', None)
    return content


# Checkpoints named in configs (`load_from`, `init_cfg`) and resumed runs come through here.
CheckpointLoader.register_scheme(prefixes='', loader=load_from_disk, force=True)
mmengine_checkpoint.load_url = load_url
# The onedl forks load other schemes with this function; theirs executes a refused file.
mmengine_checkpoint._safe_torch_load = partial(torch.load, weights_only=True)
