"""Masks of a segmentation config: a user's folders, the classes of the model, and the checks."""

import logging
import os
from collections.abc import Sequence
from functools import partial

from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log
from mmengine.registry import TRANSFORMS

from lomar.compat.dist import main_process
from lomar.datasets.config_classes import (
    classes_of_unnamed,
    clear_model_classes,
    datasets_of,
    datasets_to_set,
    given_classes,
    given_in,
    set_head_classes,
    set_model_classes,
    wrong_counts,
)
from lomar.segmentation.dataset import MaskedImages
from lomar.segmentation.mask_checks import MaskReport, check_pairs, problem_of_classes
from lomar.segmentation.mask_files import find_pairs
from lomar.segmentation.mask_ids import IGNORED, MaskIds, read_classes

Folders = tuple[str | None, str | None]  # of images and of masks


def use_masks(
    cfg: Config,
    train: Folders = (None, None),
    val: Folders = (None, None),
    classes: Sequence[str] | None = None,
    ignore_index: int | None = None,
    reduce_zero_label: bool | None = None,
    trained: Sequence[str] | None = None,
) -> None:
    """Set a user's folders in a config; those for validation are also used for testing.

    The classes of the model and their number are those of the checkpoint to test, otherwise
    `classes`, otherwise those that the config gives for training.

    Args:
        classes: names of the ids in the masks, see `read_classes`; None = those of the config, and
            for masks to test, those of the checkpoint.
        ignore_index, reduce_zero_label: see `MaskIds`; None = those of the config.
        trained: classes of the checkpoint to test; () if it has no names; None for training.
    """
    clear_model_classes(cfg, MaskedImages)
    classes = read_classes(classes)
    for split, (images, masks) in dict(train=train, val=val, test=val).items():
        for dataset in datasets_to_set(cfg, split, MaskedImages, images=images, masks=masks):
            dataset.data_root = images or dataset.data_root
            dataset.mask_root = masks or dataset.mask_root
            unused = split == 'train' and trained is not None
            undecided = reduce_zero_label is None and dataset.get('reduce_zero_label')
            if classes and undecided and not unused:
                raise ValueError(
                    f'--classes is given, and reduce_zero_label of {split}_dataloader is True: '
                    'the id 0 is ignored, and the names begin with the id 1; confirm this with '
                    '--reduce-zero-label, or begin with the id 0 by --no-reduce-zero-label'
                )
            if classes:
                dataset.metainfo = dict(dataset.get('metainfo') or {}, classes=list(classes))
            elif trained and masks:
                dataset.metainfo = dict(classes=list(trained))
            if ignore_index is not None:
                dataset.ignore_index = ignore_index
            if reduce_zero_label is not None:
                dataset.reduce_zero_label = reduce_zero_label
    learnt: Sequence[str] = classes or given_in(cfg, 'train', MaskedImages) or ()
    if trained is not None:
        learnt = trained or classes_of_unnamed(cfg, MaskedImages, _unnamed)
    if learnt:
        set_model_classes(cfg, MaskedImages, learnt)
        set_head_classes(cfg, learnt)


def check_masks(cfg: Config, splits: Sequence[str], named: bool = False) -> int:
    """Read all masks of a config before anything is built; log the shares of the classes.

    Args:
        named: whether the user named the classes; otherwise each must occur in the training masks.

    Returns:
        The number of datasets whose masks were read: those of type `MaskedImages`.

    Raises:
        FileNotFoundError: a folder is missing or empty.
        ValueError: images lack masks, masks do not fit, or classes have no pixels to learn from.
    """
    if 'train' in splits:
        _check_batch(cfg)
    seen: dict[tuple, MaskReport] = {}
    count = 0
    for split in splits:
        for dataset in datasets_of(cfg, split, MaskedImages):
            classes = dataset.get('model_classes') or given_classes(dataset) or ()
            if classes and (wrong := wrong_counts(cfg, len(classes))):
                raise ValueError(
                    f'the model has {wrong[0]}, and there are {len(classes)} classes; --classes '
                    'names your classes and sets their number'
                )
            report = main_process.share(partial(_read, dataset, seen), 'check of masks')
            report.stop_on_errors()
            count += 1
            if split == 'train':
                _check_learnt(report, classes, named)
    return count


def _check_batch(cfg: Config) -> None:
    """Raise a ValueError if a batch norm would get one number per channel."""
    head, loader = cfg.model.get('decode_head'), cfg.get('train_dataloader') or {}
    pools = isinstance(head, dict) and 1 in (head.get('pool_scales') or ())
    norm = pools and (head.get('norm_cfg') or {}).get('type')
    shared = cfg.get('sync_bn') and cfg.get('launcher', 'none') != 'none'
    if norm in ('BN', 'SyncBN') and loader.get('batch_size') == 1 and not shared:
        raise ValueError(
            'train_dataloader.batch_size is 1, and the batch norm of a pooled map of one pixel '
            'needs two images; allowed: 2 or more'
        )


def _read(dataset: ConfigDict, seen: dict[tuple, MaskReport]) -> MaskReport:
    """Return the report on the masks of a dataset, which are read once per command."""
    names = given_classes(dataset) or tuple(dataset.get('model_classes') or ())
    ids = MaskIds(
        names, dataset.get('ignore_index', IGNORED), dataset.get('reduce_zero_label', False)
    )
    classes = tuple(dataset.get('model_classes') or names)
    suffixes = dataset.get('image_suffix', ''), dataset.get('mask_suffix', '')
    folders = [os.path.abspath(dataset[key]) for key in ('data_root', 'mask_root')]
    key = (*folders, *suffixes, ids, classes)
    if key not in seen:
        load = TRANSFORMS.build(dict(dataset.pipeline[0]))
        arrays = getattr(load, 'reads_arrays', False)
        pairs = find_pairs(dataset.data_root, dataset.mask_root, *suffixes, arrays)
        seen[key] = check_pairs(pairs, ids, classes)
        if not seen[key].errors:
            _log(dataset, len(pairs), seen[key], classes)
    return seen[key]


def _log(dataset: ConfigDict, images: int, report: MaskReport, classes: Sequence[str]) -> None:
    counted = report.pixels[: len(classes)]
    if not counted.sum():
        raise ValueError(f'{dataset.mask_root}: all pixels of all masks are ignored')
    shares = counted / counted.sum()
    most = sorted(range(len(classes)), key=lambda label: -shares[label])[:10]
    text = ', '.join(f'{classes[label]} {shares[label]:.1%}' for label in most)
    print_log(
        f'{images} images with masks in {dataset.mask_root}: {text}'
        f'{" ..." if len(classes) > len(most) else ""}; ignored {report.ignored:.1%}',
        logger='current',
    )


def _check_learnt(report: MaskReport, classes: Sequence[str], named: bool) -> None:
    """Raise a ValueError on classes that no training mask has, or log them if a user named them."""
    text, nothing = problem_of_classes(report, classes)
    if text and (nothing or not named):
        raise ValueError(
            f'Masks: {text}; name the classes of your masks in the order of their ids with '
            '--classes, and the id to ignore with --ignore-index'
        )
    if text:
        print_log(f'Masks: {text}', logger='current', level=logging.WARNING)


def _unnamed(dataset: ConfigDict) -> Sequence[str]:
    raise ValueError(
        'neither the checkpoint nor the config has class names; give them with --classes'
    )
