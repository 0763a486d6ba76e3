"""Inferencers of mmengine and mmdet, `DetInferencer(weights=...)`: no code of a file is executed.

Without a config, mmengine executes the text that the checkpoint stores. Here `stored_config` reads
the text, and its types are registered classes only: mmengine also takes the name of any function
of any module, such as `os.system`, as a type.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from threading import RLock
from types import ModuleType
from typing import Any

import mmengine.registry
from mmengine.config import ConfigDict
from mmengine.infer.infer import BaseInferencer
from mmengine.registry import DefaultScope, Registry
from mmengine.registry import registry as lookup
from mmengine.runner import CheckpointLoader
from mmengine.utils import import_modules_from_strings

from lomar.checkpoints.config_reader import IMPORTABLE, imported_modules, stored_config
from lomar.checkpoints.files import naming
from lomar.utils import dicts_in

# Settings that mmcv, mmdet and mmpretrain pass to `eval`: the type of an NMS among others.
EVALUATED = ('type', 'dtype', 'warp_mode')
NAME_CONFIG = 'or name the config file, for example DetInferencer(CONFIG, CHECKPOINT)'
BUILDING = RLock()  # held while the registries or the default scope of mmengine are changed
theirs = BaseInferencer.__init__


@wraps(theirs)
def _init(self: BaseInferencer, model=None, weights: str | None = None, *args, **kwargs) -> None:
    """Build the inferencer; without `model`, from the config that the file `weights` stores."""
    if model is not None or weights is None:
        theirs(self, model, weights, *args, **kwargs)
        return
    with naming(weights):
        config = buildable_config(CheckpointLoader.load_checkpoint(weights, 'cpu'), NAME_CONFIG)
        import_modules_from_strings(imported_modules(config), allow_failed_imports=True)
        with registered_types_only():
            theirs(self, config, weights, *args, **kwargs)


BaseInferencer.__init__ = _init


def buildable_config(content: dict, advice: str) -> ConfigDict:
    """Return the stored config of a checkpoint, from which a model may be built.

    Args:
        content: result of `load_file`.
        advice: what is allowed besides a checkpoint of a training run.

    Raises:
        ValueError: there is no config with a model, or a value in it would be executed.
    """
    config = stored_config(content)
    if not isinstance((config or {}).get('model'), dict):
        raise ValueError(
            'the checkpoint stores no config with a model; allowed: a checkpoint of a training '
            f'run, {advice}'
        )
    for node in dicts_in(config):
        for key, value in ((key, node.get(key)) for key in EVALUATED):
            if isinstance(value, str) and not re.fullmatch(r'[\w./-]*', value):
                raise ValueError(f'the stored config has {key}={value[:80]!r}; allowed: a name')
        if node.get('trust_remote_code'):  # of Hugging Face's models
            raise ValueError('the stored config has trust_remote_code=True; allowed: False')
    return config


@contextmanager
def registered_types_only(scope: str | None = None) -> Iterator[None]:
    """Let mmengine's registries find registered classes only, also by the names of their modules.

    Other threads wait, as registries and default scope are those of the process.

    Args:
        scope: default scope of the registries; None = as it is.

    Raises:
        ValueError: a type was looked up that is not registered.
    """
    with BUILDING, DefaultScope.overwrite_default_scope(scope), _registered_types():
        yield


@contextmanager
def _registered_types() -> Iterator[None]:
    refused: list[str] = []
    import_module, from_string = lookup.import_module, lookup.get_object_from_string

    def import_known(name: str) -> ModuleType:
        if name.split('.')[0] not in _packages():
            raise ImportError(name)  # the registries go on without the module
        return import_module(name)

    def registered_object(name: str) -> Any:
        found = from_string(name) if name.split('.')[0] in _packages() else None
        if not any(found is each for each in _registered()):
            refused.append(name)
            raise ValueError(name)
        return found

    lookup.import_module, lookup.get_object_from_string = import_known, registered_object
    try:
        yield
    except Exception as error:  # the registries raise their own error in place of `ValueError`
        if not refused:
            raise
        raise ValueError(
            f'the stored config has the type {refused[0]!r}; allowed: classes that are registered '
            '(for an inferencer, in its library); import the module that registers the class first'
        ) from error
    finally:
        lookup.import_module, lookup.get_object_from_string = import_module, from_string


def _registered() -> Iterator[Any]:
    """Yield all classes and functions in the registries."""
    registries = [each for each in vars(mmengine.registry).values() if isinstance(each, Registry)]
    while registries:
        registry = registries.pop()
        registries += registry.children.values()
        yield from registry.module_dict.values()


def _packages() -> set[str]:
    """Return the packages of OpenMMLab, and those whose classes are registered."""
    return {
        *IMPORTABLE,
        *(str(getattr(each, '__module__', '')).split('.')[0] for each in _registered()),
    }
