"""From flags and a config to a run: a flag wins over --cfg-options, which wins over the file."""

import argparse
import os
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.runner import Runner

from lomar.datasets import check_images

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def train_parser() -> argparse.ArgumentParser:
    """Flags of `tools/train.py`: the union of mmdet's and mmpretrain's, and the data by name."""
    parser = argparse.ArgumentParser(
        description='Train a model.',
        epilog='A flag wins over --cfg-options, which wins over the config file.',
    )
    add = parser.add_argument
    add('config', help='config file')
    add('--work-dir', help='where logs and checkpoints go (default: work_dirs/<config name>)')
    add(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, without a name from the newest in the work dir',
    )
    add('--amp', action='store_true', help='mixed precision: bf16, else fp16; fp32 on a CPU')
    add('--no-validate', action='store_true', help='do not evaluate while training')
    add(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by GPUs x batch x accumulation / base_batch_size',
    )
    add('--no-pin-memory', action='store_true', help='pin_memory=False in all dataloaders')
    add('--no-persistent-workers', action='store_true', help='restart workers every epoch')
    add('--train-images', metavar='PATH', help='train on a folder or a text list of images')
    add('--val-images', metavar='PATH', help='images that the reconstruction pictures show')
    add('--tensorboard', action='store_true', help='log for TensorBoard as well')
    add(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )
    add('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    add('--local_rank', '--local-rank', type=int, default=0, help='set by launchers')
    return parser


def load_config(args: argparse.Namespace) -> Config:
    """Read the config that `args` names and apply the flags to it.

    Raises:
        ValueError: a flag or a key that does not fit the config.
        FileNotFoundError: training images are missing.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    cfg = Config.fromfile(args.config)
    _merge_options(cfg, args.cfg_options or {})
    cfg.work_dir = args.work_dir or cfg.get('work_dir') or f'work_dirs/{Path(args.config).stem}'
    cfg.launcher = args.launcher
    if args.resume:
        cfg.resume, cfg.load_from = True, None if args.resume == 'auto' else args.resume
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
    if args.auto_scale_lr:
        _enable_auto_scale(cfg)
    if args.tensorboard:
        cfg.visualizer.vis_backends.append(dict(type='TensorboardVisBackend'))
    _set_images(cfg, args.train_images, args.val_images)
    _set_loaders(cfg, args.no_pin_memory, args.no_persistent_workers)
    if not torch.cuda.is_available():
        cfg.env_cfg.dist_cfg.backend = 'gloo'
    check_data(cfg)
    return cfg


def check_data(cfg: Config) -> None:
    """Look for the training images before anything is built.

    Raises:
        FileNotFoundError: says what layout is allowed and how to make the embedded dataset.
    """
    dataset = cfg.train_dataloader.dataset
    if dataset.type == 'UnlabelledImages':
        check_images(dataset.data_root)


def _merge_options(cfg: Config, options: dict) -> None:
    known = set(cfg) | set(Runner.__init__.__code__.co_varnames)
    for key in options:
        if key.split('.')[0] not in known:
            raise ValueError(
                f"--cfg-options {key}: there is no '{key.split('.')[0]}' in the config; allowed: "
                f'{", ".join(sorted(cfg))}'
            )
    cfg.merge_from_dict(options)


def _enable_auto_scale(cfg: Config) -> None:
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ValueError(
            '--auto-scale-lr: the config has no auto_scale_lr.base_batch_size, the effective batch '
            'for which its learning rate is meant; add auto_scale_lr=dict(base_batch_size=...)'
        )
    cfg.auto_scale_lr.enable = True


def _set_images(cfg: Config, train: str | None, val: str | None) -> None:
    if train:
        if cfg.train_dataloader.dataset.type != 'UnlabelledImages':
            raise ValueError(
                '--train-images: the config trains on '
                f'{cfg.train_dataloader.dataset.type}; allowed with UnlabelledImages'
            )
        cfg.train_dataloader.dataset.data_root = train
    for hook in cfg.get('custom_hooks', ()):
        if hook.type == 'ReconstructionHook' and (train or val):
            hook.images = val  # None: the training images


def _set_loaders(cfg: Config, no_pin_memory: bool, no_persistent_workers: bool) -> None:
    for name in LOADERS:
        loader = cfg.get(name)
        if not loader:
            continue
        # Both are refused, or warned about, where they make no sense.
        loader.pin_memory = torch.cuda.is_available() and not no_pin_memory
        loader.persistent_workers = loader.num_workers > 0 and not no_persistent_workers
