"""Checks of settings of a run that cannot work, before data are read and anything is built."""

import math
from collections.abc import Iterable
from typing import Any

from mmengine.config import Config
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import EarlyStoppingHook
from mmengine.optim import ReduceOnPlateauParamScheduler
from mmengine.registry import HOOKS, LOOPS, PARAM_SCHEDULERS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from lomar.datasets import InfiniteReplaySampler
from lomar.engine.arguments import arguments
from lomar.engine.loops import ReplayIterLoop
from lomar.utils import check_choice, check_least, dicts_in, type_name

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
INTERVALS = dict(max_epochs=1, max_iters=1, val_interval=1, val_begin=0)  # lowest values
POSITIVE = ('lr', 'weight_decay', 'max_norm', 'clip_value', 'layer_decay')
ALSO = dict(lr=0, weight_decay=0, max_norm=math.inf)  # lr=0: a dry run; inf: the norm is logged
WATCHING = EarlyStoppingHook, ReduceOnPlateauParamScheduler
LEVELS = ('DEBUG', 'INFO', 'WARN', 'WARNING', 'ERROR', 'FATAL', 'CRITICAL', 'NOTSET')
SEEDS = 2**32  # number of NumPy's seeds
OF_RUNNER = {'runner', 'dataloader'}


def check_settings(cfg: Config, training: bool = True) -> None:
    """Raise a ValueError that names the key if a setting of a training or a test cannot work."""
    for name in LOADERS if training else LOADERS[-1:]:
        if loader := cfg.get(name):
            least = dict(batch_size=1, num_workers=0)
            for key in [key for key in least if key in loader]:
                check_least(name, least[key], **{key: loader[key]})
    if (seed := (cfg.get('randomness') or {}).get('seed')) is not None:
        check_least('randomness', 0, seed=seed)
        if seed >= SEEDS:
            raise ValueError(f'randomness.seed is {seed}; allowed: 0 to {SEEDS - 1}')
    if training:
        _check_training(cfg)
    _check_masks(cfg)


def _check_training(cfg: Config) -> None:
    if isinstance(level := cfg.get('log_level'), str):
        check_choice('log_level', level, LEVELS)
    if cfg.get('optim_wrapper'):
        _check_optimizer(cfg.optim_wrapper)
    scale = cfg.get('auto_scale_lr') or {}
    if scale.get('enable') or 'base_batch_size' in scale:
        check_least('auto_scale_lr', base_batch_size=scale.get('base_batch_size'))
    if cfg.get('train_cfg'):
        _check_train_loop(cfg)
        check_metrics(cfg)


def _check_numbers(owner: str, node: dict, least: dict[str, int]) -> None:
    for key, lowest in least.items():
        if node.get(key) is not None:
            check_least(owner, lowest, **{key: node[key]})


def _check_optimizer(wrapper: dict) -> None:
    _check_numbers('optim_wrapper', wrapper, dict(accumulative_counts=1))
    nodes = {
        f'optim_wrapper.{name}': wrapper.get(name) or {}
        for name in ('optimizer', 'clip_grad', 'paramwise_cfg')
    }
    for place, node in nodes.items():
        for key in [key for key in POSITIVE if node.get(key) is not None]:
            value = node[key]
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not (0 < value < math.inf or value == ALSO.get(key)):
                allowed = '0 or more' if ALSO.get(key) == 0 else 'more than 0'
                raise ValueError(f'{place}.{key} is {value!r}; allowed: a number, {allowed}')


def _check_train_loop(cfg: Config) -> None:
    """Check keys and numbers of `train_cfg`, and what has to count in the same unit."""
    loop = cfg.train_cfg
    kind = _loop_kind(loop)
    counts_steps = issubclass(kind, IterBasedTrainLoop)
    known = arguments(kind).names - OF_RUNNER | {'type', 'by_epoch'}
    for key in [key for key in loop if key not in known]:
        if loop[key] is None:
            del loop[key]  # set by --cfg-options, which cannot remove a key
        elif arguments(kind).complete:
            raise ValueError(
                f'train_cfg.{key} is {loop[key]!r}, and {kind.__name__} has no such setting; '
                f'allowed: {", ".join(sorted(known - {"by_epoch"}))}, and None for others'
            )
    length = 'max_iters' if counts_steps else 'max_epochs'
    if loop.get(length) is None:
        raise ValueError(f'train_cfg.{length} is not set, and {kind.__name__} needs it')
    _check_numbers('train_cfg', loop, INTERVALS)
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if counts_steps and checkpoint.get('by_epoch', True):
        raise ValueError(
            'default_hooks.checkpoint.by_epoch is True, and train_cfg counts iterations, so that '
            'checkpoints would be written at the end only; allowed: by_epoch=False, and interval '
            'in iterations'
        )


def check_val_begin(cfg: Config) -> None:
    """Raise a ValueError if the training ends before the first evaluation."""
    loop = cfg.train_cfg
    length = 'max_iters' if 'max_iters' in loop else 'max_epochs'
    if cfg.get('val_cfg') is not None and loop.get('val_begin', 1) > loop[length]:
        raise ValueError(
            f'train_cfg.val_begin is {loop.val_begin}, and train_cfg.{length} is {loop[length]}, '
            f'so that nothing is evaluated; allowed: 0 to {loop[length]}, or --no-validate'
        )


def _loop_kind(loop: dict) -> type:
    if 'type' not in loop:
        return EpochBasedTrainLoop if loop.get('by_epoch', True) else IterBasedTrainLoop
    kind = loop['type'] if not isinstance(loop['type'], str) else LOOPS.get(loop['type'])
    if not isinstance(kind, type) or 'by_epoch' in loop:
        raise ValueError(
            f'train_cfg.type is {loop["type"]!r}; allowed: EpochBasedTrainLoop, '
            'IterBasedTrainLoop or ReplayIterLoop, without by_epoch'
        )
    return kind


def check_sampler(loader: dict, loop: dict) -> None:
    """Raise a ValueError if a training loop does not work with the sampler of its dataloader."""
    kind = _loop_kind(loop)
    sampler = type_name(loader.get('sampler') or {})
    endless = 'Infinite' in sampler
    if endless and not issubclass(kind, IterBasedTrainLoop):
        raise ValueError(
            f'train_dataloader.sampler.type is {sampler}, an endless sequence, and train_cfg '
            'counts epochs, so that the first epoch would never end; allowed: ReplaySampler'
        )
    if issubclass(kind, ReplayIterLoop) and sampler != 'InfiniteReplaySampler':
        raise ValueError(
            f'train_dataloader.sampler.type is {sampler}, and train_cfg.type is ReplayIterLoop; '
            'allowed: InfiniteReplaySampler'
        )


def check_batches(loader: Any, processes: int) -> None:
    """Raise a ValueError if a training set has no complete batch."""
    if isinstance(loader.sampler, (InfiniteReplaySampler, InfiniteSampler)):
        return  # its batches continue across epochs, so that all are complete
    share, batch = len(loader.sampler), loader.batch_size
    if loader.drop_last and share < batch:
        raise ValueError(
            f'train_dataloader.batch_size is {batch}, but {len(loader.dataset)} training images on '
            f'{processes} process(es) give only {share} images per process, and drop_last=True '
            f'drops incomplete batches; allowed: train_dataloader.batch_size={share} or less'
        )


def check_metrics(cfg: Config) -> None:
    """Raise a ValueError unless the evaluation gives all metrics that the training looks at.

    These are metrics of the best checkpoint, of EarlyStoppingHook and of ReduceOnPlateau. In hooks
    of users, `monitor` may mean anything.
    """
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    watched = {'default_hooks.checkpoint.save_best': checkpoint.get('save_best')}
    for place, registry in dict(custom_hooks=HOOKS, param_scheduler=PARAM_SCHEDULERS).items():
        found = [cfg[place]] if isinstance(cfg.get(place), dict) else cfg.get(place) or ()
        for i, node in enumerate(found):
            kind = node.get('type') if isinstance(node, dict) else None
            kind = registry.get(kind) if isinstance(kind, str) else kind
            if isinstance(kind, type) and issubclass(kind, WATCHING):
                watched[f'{place}.{i}.monitor'] = node.get('monitor', 'loss')  # mmengine's default
    given = metric_names(cfg)
    for key, value in watched.items():
        for name in [value] if isinstance(value, str) else value or ():
            if cfg.get('val_evaluator') is None:
                raise ValueError(
                    f"{key} is '{name}', and nothing is evaluated during the training; allowed: "
                    'None, or a val_dataloader, val_cfg and val_evaluator'
                )
            if given and name != 'auto' and name not in given:
                raise ValueError(
                    f"{key} is '{name}', which val_evaluator does not compute; allowed: "
                    f'{", ".join(given)}'
                )


def metric_names(cfg: Config) -> list[str]:
    """Return the names of the metrics of `val_evaluator`; none if they are not known."""
    names: list[str] = []
    for node in _evaluators(cfg.get('val_evaluator')):
        own = _own_names(node, cfg)
        if own is None:
            return []
        prefix, values = own
        names += [f'{node.get("prefix") or prefix}/{value}' for value in values]
    return names


def _own_names(node: dict, cfg: Config) -> tuple[str, list[str]] | None:
    """Return prefix and names of the metrics of an evaluator, or None if they are not known."""
    kind = type_name(node)
    if kind in ('CocoAP', 'CocoMetric'):
        default = ['bbox', 'segm'] if kind == 'CocoAP' else 'bbox'
        metric = node.get('metric', default)
        sizes = ('', '50', '75', 's', 'm', 'l') if kind == 'CocoAP' else ('', '_50', '_75')
        sizes = sizes if kind == 'CocoAP' else (*sizes, '_s', '_m', '_l')
        kinds = [metric] if isinstance(metric, str) else metric
        if set(kinds) <= {'bbox', 'segm'} and not node.get('metric_items'):
            return 'coco', [f'{each}_mAP{size}' for each in kinds for size in sizes]
    if kind == 'ClassIoU':
        return 'iou', ['mIoU', 'aAcc', 'mAcc']
    if kind == 'ClassAccuracy':
        classes = (cfg.model.get('head') or {}).get('num_classes') or 5
        return 'accuracy', [f'top{k}' for k in (1, 5) if k <= classes]
    return None


def _check_masks(cfg: Config) -> None:
    """Check that a detector predicts masks if they are evaluated."""
    for split in ('val', 'test'):
        for node in _evaluators(cfg.get(f'{split}_evaluator')):
            if type_name(node) == 'CocoAP' and 'segm' in node.get('metric', ('segm',)):
                from lomar.detection import lacks_masks  # imports mmdet

                if lacks_masks(cfg.model):
                    raise ValueError(
                        f'{split}_evaluator.metric is {node.get("metric")}, and the model has no '
                        f"mask head ({cfg.model.get('type')}); allowed: 'bbox'"
                    )


def _evaluators(node: Any) -> Iterable[dict]:
    return [each for each in dicts_in(node) if 'type' in each]
