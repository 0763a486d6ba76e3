"""Set the data that flags name in the config of each task, and check them."""

import argparse
from itertools import chain

from mmengine.config import Config
from mmengine.logging import print_log

from lomar.datasets import check_images
from lomar.datasets.unlabelled import FILES
from lomar.engine.class_order import classes_to_test
from lomar.engine.distributed import start_processes
from lomar.engine.setting_checks import LOADERS
from lomar.utils import inner_datasets, type_name

DRAWN = f'They are --val-images, or `images` of the ReconstructionHook. {FILES}'


def detects(cfg: Config) -> bool:
    """Return whether a config is one of detection."""
    return cfg.get('default_scope') == 'mmdet'


def classifies(cfg: Config) -> bool:
    """Return whether a config is one of classification."""
    return type_name(cfg.model) == 'ImageClassifier'


def segments(cfg: Config) -> bool:
    """Return whether a config is one of semantic segmentation."""
    return cfg.get('default_scope') == 'mmseg'


def set_data(cfg: Config, args: argparse.Namespace) -> None:
    """Set the data of the flags, and the classes of the model, in the config."""
    if args.skip_unreadable:
        loaders = [cfg.get(name) for name in LOADERS[1:] if cfg.get(name)]
        if not loaders:
            raise ValueError('--skip-unreadable belongs to commands that evaluate')
        for dataset in chain.from_iterable(inner_datasets(loader.dataset) for loader in loaders):
            dataset.skip_unreadable = True
    train_ann, train_images = getattr(args, 'train_ann', None), getattr(args, 'train_images', None)
    if (detects(cfg) or segments(cfg)) and not args.print_config:
        # The main process alone reads the files.
        start_processes(cfg.launcher, cfg.get('env_cfg') or {})
    trained = None  # in a training
    supervised = detects(cfg) or segments(cfg) or classifies(cfg)
    if (name := getattr(args, 'checkpoint', None)) and supervised:
        trained = classes_to_test(name, optional=args.print_config)
    refuse_foreign_flags(cfg, args)
    if detects(cfg):
        from lomar.detection import use_files  # imports mmdet

        use_files(cfg, train_ann, train_images, args.val_ann, args.val_images, trained)
    elif segments(cfg):
        from lomar.segmentation import use_masks

        train_masks = getattr(args, 'train_masks', None)
        folders = (train_images, train_masks), (args.val_images, args.val_masks)
        use_masks(cfg, *folders, args.classes, args.ignore_index, args.reduce_zero_label, trained)
    elif classifies(cfg):
        from lomar.classification import use_folders  # imports mmpretrain

        use_folders(cfg, train_images, args.val_images, trained)
    else:
        if train_images:
            set_unlabelled(cfg, train_images)
        hooks = _drawing_hooks(cfg)
        if args.val_images and not hooks:
            print_log(
                f'--val-images {args.val_images} has no effect: no hook draws reconstructions'
            )
        for hook in hooks if train_images or args.val_images else ():
            hook.images = args.val_images  # None: the training images


def set_unlabelled(cfg: Config, images: str) -> None:
    """Set the images of --train-images in a pretraining config, also inside of dataset wrappers."""
    dataset, *others = inner_datasets(cfg.train_dataloader.dataset)
    if others:
        raise ValueError(
            '--train-images names the images of one dataset, and train_dataloader.dataset combines '
            f'{len(others) + 1}; allowed: one dataset, or data_root of each dataset in the config'
        )
    dataset.data_root = images


def refuse_foreign_flags(cfg: Config, args: argparse.Namespace) -> None:
    """Raise a ValueError for flags of data that belong to configs of another task."""
    if (getattr(args, 'train_ann', None) or args.val_ann or args.strict) and not detects(cfg):
        raise ValueError('--train-ann, --val-ann and --strict belong to detection configs')
    reduces = args.reduce_zero_label
    masks = getattr(args, 'train_masks', None) or args.val_masks or args.classes
    if (masks or args.ignore_index is not None or reduces is not None) and not segments(cfg):
        raise ValueError(
            '--train-masks, --val-masks, --classes, --ignore-index and --reduce-zero-label belong '
            'to segmentation configs'
        )


def check_data(
    cfg: Config,
    splits: tuple[str, ...] = ('train', 'val'),
    strict: bool = False,
    named: bool = False,
) -> None:
    """Check the data of `splits` before anything is built.

    Args:
        strict: whether notes are errors.
        named: whether the user named the classes in masks.
    """
    if detects(cfg):
        from lomar.detection import check_config, check_output, stop_on_errors  # imports mmdet

        reports = check_config(cfg, splits).values()
        stop_on_errors(reports, strict)
        if 'test' in splits:
            check_output(cfg, reports)
    elif segments(cfg):
        from lomar.segmentation import check_masks

        check_masks(cfg, splits, named)
    elif classifies(cfg):
        from lomar.classification import check_folders  # imports mmpretrain

        check_folders(cfg, splits)
    else:
        for dataset in inner_datasets(cfg.train_dataloader.dataset):
            if type_name(dataset) == 'UnlabelledImages':
                check_images(dataset.data_root)
        for hook in _drawing_hooks(cfg) if 'val' in splits else ():
            if hook.get('images'):
                check_images(hook.images, DRAWN)


def _drawing_hooks(cfg: Config) -> list:
    """Return the hooks of a pretraining that draw reconstructions."""
    hooks = cfg.get('custom_hooks') or ()
    return [hook for hook in hooks if type_name(hook) == 'ReconstructionHook']
