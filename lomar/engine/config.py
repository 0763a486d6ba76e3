"""Config of a run from the config file, `--cfg-options` and flags, in increasing priority."""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import METRICS, Registry
from mmengine.utils import import_modules_from_strings

import lomar.register  # noqa: F401  (a config may name no `custom_imports`, or `lomar` only)
from lomar.compat import check_segmentation
from lomar.compat.dist import main_process
from lomar.datasets import use_channels, use_value_range
from lomar.engine.arguments import arguments
from lomar.engine.config_files import find_config
from lomar.engine.distributed import check_gpu_of_process, set_local_rank, start_processes
from lomar.engine.epochs import set_epochs
from lomar.engine.kind_checks import check_kinds, check_writable
from lomar.engine.option_keys import check_option_keys
from lomar.engine.resume import checkpoint_to_resume, latest_checkpoint
from lomar.engine.setting_checks import (
    LOADERS,
    check_metrics,
    check_settings,
    check_val_begin,
)
from lomar.engine.task_data import check_data, detects, segments, set_data
from lomar.engine.tracker_config import add_trackers, keep_test_backends
from lomar.utils import dicts_in

# Variables by which mmengine finds the number of a process.
RANKS = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')


def read_config(name: str | Path, options: dict | None = None) -> Config:
    """Return the config of a file or a packaged name, changed by `--cfg-options`."""
    path = find_config(name)
    try:
        cfg = Config.fromfile(path)
        check_writable(cfg)
    except Exception as error:  # a Python config may raise any
        kind = '' if isinstance(error, OSError | ValueError) else f'{type(error).__name__}: '
        raise ValueError(f'{path}: {kind}{" ".join(str(error).split())}') from error
    if not isinstance(cfg.get('model'), dict):
        raise ValueError(f'{path}: the config has no model')
    if segments(cfg):
        check_segmentation()
    merge_options(cfg, options or {})
    if 'type' not in cfg.model:
        raise ValueError(f'{path}: model.type is missing; allowed: the name of a class')
    use_channels(cfg)
    use_value_range(cfg)
    if cfg.get('max_dets') is not None:
        from lomar.detection import use_max_dets  # imports mmdet

        use_max_dets(cfg, options or {})
    return cfg


def train_config(args: argparse.Namespace) -> Config:
    """Return the config for the flags of `lomar train`.

    Data and checkpoints are checked, except for `--print-config`.
    """
    cfg = _read(args)
    _require(cfg, args.config, 'train_dataloader', 'train_cfg', 'optim_wrapper')
    if args.resume:
        _resume(cfg, args.resume, args.print_config)
        if not (cfg.get('resume') or args.work_dir):
            _check_copied(cfg)
    if args.accept_changes and not (args.resume or cfg.get('resume')):
        raise ValueError('--accept-changes has no effect without --resume')
    if args.accept_changes or cfg.get('accept_changes'):  # of the run that saved the config
        cfg.accept_changes = args.accept_changes  # read by the runner
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if not cfg.get('val_evaluator'):
        _keep_no_best(cfg, args.cfg_options or {})
    if args.auto_scale_lr:
        _enable_auto_scale(cfg)
    add_trackers(cfg, args)
    if not args.print_config:
        check_settings(cfg)
    set_data(cfg, args)
    if not args.print_config:
        check_metrics(cfg)  # once more, as the data may have another number of classes
        check_data(cfg, ('train', 'val'), args.strict, bool(args.classes))
        _check_checkpoint(
            cfg,
            'name the pretrained weights with --cfg-options load_from=FILE, or load_from=None to '
            'start from random weights',
        )
    if args.epochs:
        if not args.print_config:
            start_processes(cfg.launcher, cfg.get('env_cfg') or {})
        set_epochs(cfg, args.epochs, args.cfg_options or {})
    if not args.print_config:
        check_val_begin(cfg)
    return cfg


def test_config(args: argparse.Namespace) -> Config:
    """Return the config for the flags of `lomar test`; see `train_config`."""
    cfg = _read(args)
    _require(cfg, args.config, 'test_dataloader', 'test_cfg', 'test_evaluator')
    cfg.load_from, cfg.resume = args.checkpoint, False
    if args.amp:  # in the dtype of the training
        cfg.test_cfg.fp16 = (cfg.get('optim_wrapper') or {}).get('dtype') or True
    cfg.custom_hooks = []  # only for training
    keep_test_backends(cfg)
    if args.out:
        _set_in_evaluators(cfg, '--out', 'out', args.out)
    if not detects(cfg) and (args.show or args.show_dir or args.tta):
        raise ValueError('--show, --show-dir and --tta belong to detection configs')
    if args.tta:  # which drops masks
        _set_in_evaluators(cfg, '--tta', 'metric', 'bbox')
    if args.show or args.show_dir:
        show_dir = args.show_dir and str(Path(args.show_dir).resolve())
        cfg.default_hooks = cfg.get('default_hooks') or ConfigDict()
        hook = cfg.default_hooks.get('visualization') or {}
        cfg.default_hooks.visualization = dict(
            hook,
            type='DetectionPicturesHook',
            draw=True,
            show=args.show,
            wait_time=args.wait_time,
            test_out_dir=show_dir,
        )
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    if not args.print_config:
        check_settings(cfg, training=False)
        _check_checkpoint(cfg, 'name the checkpoint to test after the config')
    set_data(cfg, args)
    cfg.train_dataloader = cfg.train_cfg = cfg.optim_wrapper = cfg.param_scheduler = None
    if not args.print_config:
        check_data(cfg, ('test',), args.strict)
    if args.tta:
        from lomar.detection import augment_tests  # imports mmdet

        augment_tests(cfg)
    return cfg


def _set_in_evaluators(cfg: Config, flag: str, key: str, value: str) -> None:
    """Set a key in the evaluators of the test that have it; a ValueError without any."""
    nodes = [node for node in dicts_in(cfg.test_evaluator) if 'type' in node]
    with METRICS.switch_scope_and_registry(cfg.get('default_scope')) as metrics:
        found = [node for node in nodes if _takes(metrics, node['type'], key)]
    if not found:
        names = ', '.join(str(node['type']) for node in nodes)
        raise ValueError(f'{flag}: no metric of test_evaluator takes {key}; it has {names}')
    for node in found:
        node[key] = value


def _takes(registry: Registry, kind: str | type, key: str) -> bool:
    found = registry.get(kind) if isinstance(kind, str) else kind
    return found is not None and key in arguments(found).names


def print_config(read: Callable[[argparse.Namespace], Config], args: argparse.Namespace) -> None:
    """Print only the config that `read` returns for the flags to stdout."""
    with contextlib.redirect_stdout(sys.stderr):
        text = read(args).pretty_text
    print(text)


def merge_options(cfg: Config, options: dict) -> None:
    """Apply `--cfg-options`; raise a ValueError if nothing reads a key."""
    for note in check_option_keys(cfg, options):
        print_log(note)
    for option in options:  # mmengine merges nothing into None
        node = cfg._cfg_dict
        for key in option.split('.')[:-1]:
            if isinstance(node, list):
                node = node[int(key)]
            else:
                node[key] = ConfigDict() if node.get(key) is None else node[key]
                node = node[key]
    cfg.merge_from_dict(options)
    check_kinds(cfg)
    if any(option.startswith('custom_imports.') for option in options):
        try:
            import_modules_from_strings(**cfg.custom_imports)  # as `Config.fromfile` does
        except ImportError as error:
            raise ValueError(f'--cfg-options custom_imports: {error}') from error


def _resume(cfg: Config, checkpoint: str, print_only: bool) -> None:
    """Resume from a checkpoint; with 'auto', from the newest checkpoint if there is one."""
    if not print_only:  # all processes resume from what the main process finds
        start_processes(cfg.launcher, cfg.get('env_cfg') or {})
    found: str | None = checkpoint
    if checkpoint == 'auto':
        _check_places(cfg)
        find = partial(checkpoint_to_resume, cfg.work_dir)
        found = main_process.share(find, 'search for the newest checkpoint')
    if found is None:
        begin = cfg.get('load_from') or 'random weights'
        print_log(f'Nothing to resume in {cfg.work_dir}: beginning with {begin}')
    else:
        cfg.resume, cfg.load_from = True, found
        if not print_only:
            advice = 'allowed: a checkpoint of a training, or --resume alone for the newest one'
            _check_checkpoint(cfg, f'{advice} in {cfg.work_dir}', '--resume')


def _check_copied(cfg: Config) -> None:
    """Raise a ValueError if only the folder of the config has checkpoints, as a copied work dir."""
    folder = Path(cfg.filename).parent
    if found := latest_checkpoint(folder):
        raise ValueError(
            f'--resume: {cfg.work_dir}, the work_dir of {cfg.filename}, has no checkpoint, and '
            f'{folder} has {Path(found).name}; allowed: --work-dir {folder} to go on there, or '
            '--resume FILE'
        )


def _check_places(cfg: Config) -> None:
    """Raise a ValueError if the checkpoints of a training are not where --resume finds them."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    for key in ('out_dir', 'filename_tmpl'):
        if hook.get(key) is not None:
            raise ValueError(
                f'--resume looks for epoch_N.pth and iter_N.pth in {cfg.work_dir}, and '
                f'default_hooks.checkpoint.{key} is {hook[key]!r}; allowed: --resume FILE'
            )


def _keep_no_best(cfg: Config, options: dict) -> None:
    """Unset the `save_best` of a config without an evaluation, unless an option asks for it."""
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if hook.get('save_best') and 'default_hooks.checkpoint.save_best' not in options:
        print_log('Nothing is evaluated during the training, so no best checkpoint is kept')
        hook['save_best'] = None


def _check_checkpoint(cfg: Config, advice: str, key: str = 'load_from') -> None:
    name = cfg.get('load_from')
    if name is not None and not (name and isinstance(name, str)):
        raise ValueError(f'{key} is {name!r}; allowed: a file, a URL, or None')
    if name and '://' not in name and not Path(name).expanduser().exists():
        raise FileNotFoundError(f'{key}: {name} does not exist; {advice}')


def _read(args: argparse.Namespace) -> Config:
    set_local_rank(args.launcher, args.local_rank)
    if args.launcher != 'none':
        check_gpu_of_process()
    # Set before the options are checked, because mixed precision has additional keys.
    amp = {'optim_wrapper.type': 'AmpOptimWrapper'} if args.amp else {}
    if 'launcher' in (args.cfg_options or {}):
        raise ValueError('--cfg-options launcher has no effect; use --launcher')
    limit = {'max_dets': args.max_dets} if args.max_dets else {}
    cfg = read_config(args.config, {**(args.cfg_options or {}), **amp, **limit})
    if args.quiet or cfg.get('quiet'):  # of the run that saved the config
        cfg.quiet = args.quiet  # read by the runner
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    cfg.launcher = args.launcher
    if cfg.get('sync_bn') and not torch.cuda.is_available():
        cfg.sync_bn = None  # PyTorch's needs GPUs
    variable = RANKS.get(args.launcher)
    if variable and variable not in os.environ and not args.print_config:
        raise ValueError(
            f'--launcher {args.launcher}: the environment has no {variable}, so this launcher did '
            'not start the command (docs/scaling.md)'
        )
    if args.launcher == 'mpi' and 'MASTER_ADDR' not in os.environ and not args.print_config:
        raise ValueError(
            '--launcher mpi: the environment has no MASTER_ADDR; set it to the name or the address '
            'of the first machine (docs/scaling.md)'
        )
    for name in LOADERS:
        if cfg.get(name):
            # PyTorch refuses both or warns about them if they have no effect.
            loader = cfg[name]
            for key, possible, off in (
                ('pin_memory', torch.cuda.is_available(), args.no_pin_memory),
                (
                    'persistent_workers',
                    loader.get('num_workers', 0) != 0,
                    args.no_persistent_workers,
                ),
            ):
                loader[key] = possible and not off and loader.get(key, True)
    return cfg


def _require(cfg: Config, name: str, *keys: str) -> None:
    for key in keys:
        if not cfg.get(key):
            what = key.partition('_')[0].replace('optim', 'train')
            raise ValueError(f'{name}: the config has no {key}, so there is nothing to {what}')


def _enable_auto_scale(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError(
            '--auto-scale-lr: the config has no auto_scale_lr.base_batch_size, the effective batch '
            'for which its learning rate is meant; add auto_scale_lr=dict(base_batch_size=...)'
        )
    cfg.auto_scale_lr.enable = True
