"""Record of the settings that a resumed run depends on, and the comparison of two records.

Every checkpoint has the record of its run in `meta`. Paths, worker processes, logging, validation
and other settings without influence on the trained weights are not in the record.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.runner import BaseLoop, EpochBasedTrainLoop

from lomar import __version__
from lomar.checkpoints.config_reader import stored_config
from lomar.compat.amp import mixed_dtype
from lomar.datasets.fingerprint import dataset_fingerprint, file_fingerprint
from lomar.engine.class_order import classes_of
from lomar.provenance import installed
from lomar.utils import type_name

KEY = 'run_record'  # in `meta` of a checkpoint
# Compared parts of a record, and where they are in the config.
PARTS = dict(settings='', data='', classes='classes', seed='randomness.seed')
# Settings that have the same form in the configs of earlier versions.
STORED = {'train_cfg', 'optim_wrapper'}
MAX_ROWS = 24
ABSENT = 'absent'
# Keys at any depth without influence on the trained weights: places, speed and memory, testing.
UNUSED = {'ann_file', 'backend_args', 'data_prefix', 'data_root', 'file_client_args', 'init_cfg'}
UNUSED |= {'capturable', 'compiled', 'flex', 'foreach', 'fused', 'lazy_init', 'max_refetch'}
UNUSED |= {'serialize_data', 'test_cfg', 'with_cp'}
UNUSED |= {'leave_out', 'metainfo', 'model_classes'}  # the class names are recorded as read
LOOP = {'dynamic_intervals', 'val_begin', 'val_interval'}
LOADER = ('dataset', 'sampler', 'batch_sampler', 'collate_fn', 'drop_last', 'num_batch_per_epoch')
# Hooks that change no weights: keys of `default_hooks`, and types. All other hooks are compared,
# also those of users.
IDLE_KEYS = {'checkpoint', 'logger', 'runtime_info', 'timer', 'visualization'}
IDLE_HOOKS = {
    *('ModelSummaryHook', 'ThroughputHook', 'UnreadableImagesHook', 'ReconstructionHook'),
    'FiniteLossHook',
    *('ProbeHook', 'VisualizationHook', 'DetVisualizationHook', 'EarlyStoppingHook'),
    *('EmptyCacheHook', 'ProfilerHook', 'MemoryProfilerHook', 'CheckInvalidLossHook'),
}


class Difference(NamedTuple):
    """A setting that is not that of the checkpoint."""

    key: str
    old: object
    new: object


def describe(cfg: Any, loop: BaseLoop, seed: int, processes: int) -> dict:
    """Return the record of a run: plain data, to be saved in checkpoints.

    Args:
        loop: the training loop, with its dataloader.
    """
    loader, by_epoch = loop.dataloader, isinstance(loop, EpochBasedTrainLoop)
    data = {
        'number of training images': len(loader.dataset),
        'contents of training images and labels': dataset_fingerprint(loader.dataset),
        'images per step (batch_size x processes)': loader.batch_sampler.batch_size * processes,
    }
    if by_epoch:
        data['steps per epoch'] = len(loader)
    return dict(
        settings=_settings(cfg),
        data=data,
        classes=[str(name) for name in classes_of(loader.dataset)],
        seed=seed,
        by_epoch=by_epoch,
        steps_per_epoch=len(loader),
        versions=dict(lomar=__version__, **installed()),
    )


def schedule_epochs(record: Mapping | None) -> float | None:
    """Return the length of the training of a record in epochs; None without a record."""
    if not record:
        return None
    loop, data = record['settings']['train_cfg'], record['data']
    if record['by_epoch']:
        return loop['max_epochs']
    images = loop['max_iters'] * data['images per step (batch_size x processes)']
    return round(images / data['number of training images'], 2)


def differences(old: Mapping, new: Mapping) -> list[Difference]:
    """Return the settings, data and classes in which two records differ.

    Parts, and keys of settings and data, that only one record has are not compared.
    """
    found = []
    for part in [part for part in PARTS if part in old and part in new]:
        pair = [old[part], new[part]]
        if isinstance(pair[0], Mapping):
            shared = pair[0].keys() & pair[1].keys()
            pair = [{key: each[key] for key in each if key in shared} for each in pair]
        before, now = (dict(_leaves(each, PARTS[part])) for each in pair)
        for key in [*now, *(key for key in before if key not in now)]:
            values = before.get(key, ABSENT), now.get(key, ABSENT)
            if values[0] != values[1]:
                found.append(Difference(key, *values))
    return found


def known_record(content: Mapping) -> dict:
    """Return what the content of a checkpoint without a record says about its training.

    These are seed, classes, length and optimizer in the config that mmengine stores.

    Raises:
        ValueError: the stored config is more than plain values.
    """
    meta, cfg = content['meta'], stored_config(content) or {}
    classes = (meta.get('dataset_meta') or {}).get('classes')
    known = dict(
        seed=meta.get('seed'),
        classes=[str(name) for name in classes or ()],
        settings={key: value for key, value in _settings(cfg).items() if key in STORED & {*cfg}},
    )
    return {key: value for key, value in known.items() if value not in (None, [], {})}


def table(rows: Iterable[Difference]) -> str:
    """Return lines with key, old and new value of each difference."""
    lines = [('setting', 'checkpoint', 'now'), *((key, _short(a), _short(b)) for key, a, b in rows)]
    rest = len(lines) - 1 - MAX_ROWS
    lines = lines[: MAX_ROWS + 1]
    first, second = (max(len(line[column]) for line in lines) for column in (0, 1))
    text = [f'    {key:<{first}}  {old:<{second}}  {new}' for key, old, new in lines]
    return '\n'.join(text + ([f'    ... and {rest} more'] if rest > 0 else []))


def version_changes(old: Mapping, new: Mapping) -> list[str]:
    """Return a text for each package that has another version than in the old record."""
    before, now = old.get('versions') or {}, new['versions']
    return [
        f'{name} {before.get(name, ABSENT)} -> {now.get(name, ABSENT)}'
        for name in {**before, **now}
        if before.get(name) != now.get(name)
    ]


def _settings(cfg: Mapping) -> dict:
    """Return the parts of a config that determine the trained weights, as plain data."""
    scale, loader = _node(cfg, 'auto_scale_lr'), _node(cfg, 'train_dataloader')
    loop = {key: value for key, value in _node(cfg, 'train_cfg').items() if key not in LOOP}
    return dict(
        train_cfg=plain(loop),
        param_scheduler=plain(cfg.get('param_scheduler') or []),
        optim_wrapper=_optim_wrapper(_node(cfg, 'optim_wrapper')),
        auto_scale_lr=plain(scale) if scale.get('enable') else ABSENT,
        train_dataloader=plain({key: loader[key] for key in LOADER if key in loader}),
        randomness=dict(diff_rank_seed=bool(_node(cfg, 'randomness').get('diff_rank_seed'))),
        hooks=_hooks(cfg),
        data_preprocessor=plain(cfg.get('data_preprocessor')),
        model=plain(cfg.get('model')),
    )


def _optim_wrapper(node: Mapping) -> dict:
    """Return the settings of optimizer and accumulation, with the dtype that is really used."""
    wrapper = {'accumulative_counts': 1, **plain(node)}
    kind, dtype = wrapper.pop('type', 'OptimWrapper'), wrapper.pop('dtype', None)
    if kind == 'AmpOptimWrapper':
        kind = str(mixed_dtype(dtype) or 'float32').removeprefix('torch.')
    elif kind == 'OptimWrapper':
        kind = 'float32'
    if kind != 'float16':
        wrapper.pop('loss_scale', None)
    return wrapper | dict(dtype=kind)


def _hooks(cfg: Mapping) -> dict[str, list]:
    """Return the settings of the hooks that may change weights, by type."""
    hooks: dict[str, list] = {}
    given = [each for key, each in _node(cfg, 'default_hooks').items() if key not in IDLE_KEYS]
    for hook in [*given, *(cfg.get('custom_hooks') or ())]:
        settings = plain(hook) if isinstance(hook, Mapping) else dict(type=plain(type(hook)))
        name = type_name(settings)
        settings.pop('type', None)
        if hook is not None and name not in IDLE_HOOKS:
            settings.pop('priority', None)
            hooks.setdefault(name, []).append(settings)
    return hooks


def _node(cfg: Mapping, key: str) -> Mapping:
    """Return a dict of the config; an empty one for None and for objects that are already built."""
    value = cfg.get(key)
    return value if isinstance(value, Mapping) else {}


def plain(node: Any) -> Any:
    """Return a node of a config as dicts, lists, numbers and texts, without keys in `UNUSED`.

    Paths of files become fingerprints of the files.
    """
    if isinstance(node, Mapping):
        return {str(key): plain(value) for key, value in node.items() if key not in UNUSED}
    if isinstance(node, list | tuple | set):
        return [plain(value) for value in node]
    if isinstance(node, str | Path):
        path = os.path.expanduser(node)
        is_file = os.path.splitext(path)[1] and os.path.isfile(path)
        return f'file with hash {file_fingerprint(path)}' if is_file else str(node)
    if node is None or isinstance(node, bool | int | float):
        return node
    named = node if hasattr(node, '__qualname__') else type(node)
    return f'{named.__module__}.{named.__qualname__}'


def _leaves(node: Any, path: str) -> Iterator[tuple[str, object]]:
    """Yield path and value of each leaf of nested dicts and lists; an empty one is a leaf."""
    if isinstance(node, dict | list) and node:
        for key, value in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _leaves(value, f'{path}.{key}'.lstrip('.'))
    else:
        yield path, node


def _short(value: object) -> str:
    text = ' '.join(str(value).split())
    return text if len(text) <= 40 else f'{text[:37]}...'
