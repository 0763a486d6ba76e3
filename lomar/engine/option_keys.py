"""Check of the keys of `--cfg-options`; a key that nothing reads is an error.

A key is known if the config has it, or if the constructor of the node's `type` takes it.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType

import mmengine.registry
from mmengine import runner
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import Registry
from mmengine.utils.dl_utils import set_multi_processing
from torch import nn
from torch.utils.data import DataLoader

from lomar.engine.arguments import Keys, arguments
from lomar.engine.param_groups import DEFAULTS
from lomar.models.rpe import build_rpe
from lomar.models.windows import build_samplers

ALWAYS = {'type', '_scope_', '_delete_'}
# Keys that are removed from a dict before its type is built, by registry name.
TAKEN_OUT = {
    'hook': {'priority'},
    'loop': {'by_epoch'},
    'optim_wrapper': {'constructor', 'optimizer', 'paramwise_cfg'},
    'parameter scheduler': {'convert_to_iter_based'},
}
# Top-level keys that mmengine or this package reads.
LOOKED_UP = {'activation_checkpointing', 'compile', 'custom_imports', 'efficient_conv_bn_eval'}
LOOKED_UP |= {'max_dets', 'model_wrapper_cfg', 'runner_type', 'sync_bn', 'transfer', 'value_range'}


def _unknown(**kwargs) -> None:
    """Represent unknown readers, which may read any key."""
    del kwargs


# Readers of nodes without a registered type, by path: functions whose arguments are keys, and more
# keys.
READERS: dict[str, tuple[tuple[Callable, ...], set[str]]] = {
    r'': ((runner.Runner,), LOOKED_UP),
    r'(train|val|test)_dataloader': ((DataLoader,), {'num_batch_per_epoch'}),
    r'train_cfg': ((runner.EpochBasedTrainLoop, runner.IterBasedTrainLoop), {'by_epoch'}),
    r'val_cfg': ((runner.ValLoop,), set()),
    r'test_cfg': ((runner.TestLoop,), set()),
    r'optim_wrapper': ((OptimWrapper,), TAKEN_OUT['optim_wrapper']),
    r'optim_wrapper\.clip_grad': ((nn.utils.clip_grad_norm_, nn.utils.clip_grad_value_), set()),
    r'optim_wrapper\.paramwise_cfg': ((_unknown,), set(DEFAULTS)),
    r'auto_scale_lr': ((), {'enable', 'base_batch_size'}),
    r'env_cfg': (
        (),
        {'cudnn_benchmark', 'dist_cfg', 'main_process_minutes', 'mp_cfg', 'resource_limit'}
        | {'step_minutes'},
    ),
    r'env_cfg\.mp_cfg': ((set_multi_processing,), set()),
    r'randomness': ((runner.Runner.set_randomness,), set()),
    r'log_processor': ((runner.LogProcessor,), set()),
    r'custom_imports': ((), {'imports', 'allow_failed_imports'}),
    r'transfer': ((), {'allow', 'weights'}),
    r'model\.windows': ((build_samplers,), set()),
    r'.*_dataloader\..*metainfo': ((_unknown,), {'classes', 'palette'}),
    r'.*backbone\.rpe': ((build_rpe,), set()),
    r'.*backbone\.arch': (
        (),
        {'embed_dim', 'depth', 'num_heads', 'mlp_ratio'}  # RPEViT
        | {'embed_dims', 'num_layers', 'num_heads', 'feedforward_channels'},  # mmpretrain
    ),
}


def check_option_keys(cfg: Config, options: dict) -> list[str]:
    """Return notes on keys for which it is unknown whether something reads them.

    Raises:
        ValueError: nothing reads a key; the message contains the nearest known key.
    """
    return [note for key in options if (note := _check(cfg, key, options))]


def _check(cfg: Config, option: str, options: dict) -> str | None:
    """Check one option against the nodes of the config; return a note, or None."""
    node, where = cfg._cfg_dict, ''
    for key in option.split('.'):
        if not isinstance(options.get(where, {}), dict):
            raise ValueError(f'--cfg-options {option}: {where}={options[where]} is given as well')
        if isinstance(node, list):
            if not key.isdigit() or int(key) >= len(node):
                raise ValueError(
                    f"--cfg-options {option}: {where} is a list, '{key}' found; allowed: 0 to "
                    f'{len(node) - 1}'
                )
            if not isinstance(options.get(f'{where}.{key}', {}), dict):  # mmengine cannot
                raise ValueError(
                    f'--cfg-options {option} replaces an entry of a list; allowed: its keys, such '
                    f'as {option}.type, or the whole list, {where}=[...]'
                )
            node = node[int(key)]
        elif isinstance(node, dict | None):
            node = node or {}
            if key not in node:
                read = _read_from(cfg, where, node, options)
                if key not in read.names:
                    return _refuse(option, where, key, replace(read, names=read.names | {*node}))
            node = node.get(key)
        else:
            raise ValueError(f'--cfg-options {option}: {where} is {node!r}, which has no keys')
        where = f'{where}.{key}'.lstrip('.')
    return None


def _refuse(option: str, where: str, key: str, read: Keys) -> str:
    """Return a note on an unknown key, or raise an error if no other keys are read."""
    names = sorted(read.names - ALWAYS | ({'type'} if where else set()))
    near = get_close_matches(key, names, 1, cutoff=0.5)
    advice = f'nearest: {f"{where}.{near[0]}".lstrip(".")}' if near else f'keys: {", ".join(names)}'
    place = where or 'the config'
    if read.complete:
        raise ValueError(f"--cfg-options {option}: nothing reads '{key}' in {place}; {advice}")
    return f"--cfg-options {option}: it is not known whether '{key}' in {place} is read; {advice}"


def _read_from(cfg: Config, where: str, node: dict, options: dict) -> Keys:
    """Return the keys that are read from the node at a path."""
    kind = options.get(f'{where}.type', node.get('type'))
    found = _registered(kind, cfg.get('default_scope')) if kind else []
    if found:
        parts = [arguments(each) | Keys(frozenset(TAKEN_OUT.get(name, ()))) for name, each in found]
    elif where == 'default_hooks':  # any name, with a type
        named = {key.split('.')[1] for key in options if re.fullmatch(rf'{where}\.\w+\.type', key)}
        parts = [Keys(frozenset(named))]
    else:
        readers = next((r for path, r in READERS.items() if re.fullmatch(path, where)), None)
        if readers is None:
            return Keys(frozenset(ALWAYS), complete=False)
        parts = [*map(arguments, readers[0]), Keys(frozenset(readers[1]))]
    read = Keys(frozenset(ALWAYS if where else ()))
    for part in parts:
        read |= part
    return read


def _registered(kind: str | type, scope: str | None) -> list[tuple[str, Callable]]:
    """Return the possible (registry name, class or function) of a type."""
    if not isinstance(kind, str):
        return [('', kind)]
    prefix, _, name = kind.rpartition('.')
    found = []
    if prefix in ('', 'mmengine'):
        found = _search(mmengine.registry, name)
    if not found and (prefix or scope):  # imports all of mmdet or mmpretrain
        try:
            found = _search(import_module(f'{prefix or scope}.registry'), name)
        except ImportError:
            return []
    return found


def _search(module: ModuleType, name: str) -> list[tuple[str, Callable]]:
    registries = [each for each in vars(module).values() if isinstance(each, Registry)]
    if module is not mmengine.registry:
        for registry in registries:
            registry.import_from_location()
    return [(each.name, each.module_dict[name]) for each in registries if name in each.module_dict]
