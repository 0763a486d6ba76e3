"""Arguments and actions that several commands share. Nothing here imports torch or OpenMMLab."""

import argparse
import os
from collections.abc import Sequence

from lomar.cli.config_options import ConfigOptions

CONFIG_HELP = (
    'config file, or name of a packaged config: lomar_pretrain, or '
    'detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco'
)


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help with the default of each flag that has one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or action.default is False:
            return action.help
        return super()._get_help_string(action)


class PrintVersions(argparse.Action):
    """`--version`: versions of this package, of Python and of the packages that it uses."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Print one package per line."""
        from lomar import __version__
        from lomar.provenance import installed

        print(f'lomar {__version__}')
        for name, version in installed().items():
            print(name, version)
        parser.exit()


class PrintCompletion(argparse.Action):
    """`--print-completion SHELL`: the script by which a shell completes commands and flags."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        """Print the script, which shtab writes."""
        try:
            import shtab
        except ImportError:
            advice = "pip install 'lomar-openmmlab[completion]'"
            parser.exit(1, f'lomar: {option_string} needs shtab: {advice}\n')
        print(shtab.complete(parser, shell=values))
        parser.exit()


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add CONFIG and --cfg-options."""
    parser.add_argument('config', metavar='CONFIG', help=CONFIG_HELP)
    add_config_options(parser)


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """Add --cfg-options."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='settings to change in the config, such as train_dataloader.batch_size=64',
    )


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `train` and `test` share: those of mmdet and mmpretrain, and a few."""
    add = parser.add_argument
    add_config(parser)
    parser.epilog = 'A flag wins over --cfg-options, which wins over the config file.'
    add('--work-dir', metavar='DIR', help='folder for logs and results (default: work_dirs/CONFIG)')
    add(
        '--amp',
        action='store_true',
        help='mixed precision: bf16 if supported, otherwise fp16 on a GPU and float32 on a CPU',
    )
    add('--no-pin-memory', action='store_true', help='set pin_memory=False in all dataloaders')
    add('--no-persistent-workers', action='store_true', help='restart workers every epoch')
    add('--val-ann', metavar='JSON', help='COCO annotations to evaluate on')
    add(
        '--val-images',
        metavar='PATH',
        help='images to evaluate on (pretraining: images to draw reconstructions of)',
    )
    add('--val-masks', metavar='DIR', help='folder of the masks to evaluate on')
    add_mask_flags(parser)
    add_max_dets(parser)
    add_strict(parser)
    add(
        '--skip-unreadable',
        action='store_true',
        help='evaluate without the images that cannot be read (default: stop before the '
        'evaluation)',
    )
    add(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='program that started the processes, one per GPU',
    )
    add('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    add('--print-config', action='store_true', help='print the final config and exit')
    add(
        '--dry-run',
        action='store_true',
        help='check and build everything, load one batch, and write nothing',
    )


def add_mask_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what the values in masks mean."""
    add = parser.add_argument
    add(
        '--classes',
        nargs='+',
        metavar='NAME',
        help='names of the ids in masks in their order, or a file with a name per line (default: '
        'those of the config; in a test, those of the checkpoint)',
    )
    add(
        '--ignore-index',
        type=count_or_zero,
        metavar='ID',
        help='id in masks of pixels that are ignored (default: 255)',
    )
    add(
        '--reduce-zero-label',
        action=argparse.BooleanOptionalAction,
        help='ignore the id 0 in masks, too: the ids of the classes begin at 1, as in ADE20K '
        '(default: as in the config)',
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add --overwrite, for commands that call `lomar.utils.check_new`."""
    parser.add_argument('--overwrite', action='store_true', help='replace output files that exist')


def add_max_dets(parser: argparse.ArgumentParser) -> None:
    """Add --max-dets."""
    parser.add_argument(
        '--max-dets',
        type=count,
        metavar='N',
        help='largest number of detections per image, of the detector and of AP (default: that '
        'of the config, usually 100)',
    )


def add_strict(parser: argparse.ArgumentParser) -> None:
    """Add --strict."""
    parser.add_argument(
        '--strict', action='store_true', help='stop also on notes of the check of COCO annotations'
    )


def given_text(text: str) -> str:
    """Return the text of an argument, which is not empty, with the home folder for a first `~`.

    An empty text is often a variable of the shell that is not set. After `=`, the shell does not
    expand `~`.
    """
    if not text:
        raise argparse.ArgumentTypeError("'' found; allowed: a text that is not empty")
    return os.path.expanduser(text)


def count(text: str) -> int:
    """Return a number of things, which is 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} found; allowed: 1 or more, a whole number')
    return int(text)


def count_or_zero(text: str) -> int:
    """Return a number of things, which may be 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f'{text} found; allowed: 0 or more, a whole number')
    return int(text)


def positive(text: str) -> float:
    """Return a number above 0."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f'{number} found; allowed: more than 0')
    return number


OF_TRAINING = (
    'those of the training, if the command has a checkpoint that stores them; else 0 and 65535 for '
    '16 unsigned bits, and images of other types are refused'
)


def add_value_range(parser: argparse.ArgumentParser, default: str = OF_TRAINING) -> None:
    """Add --value-range, with the default that its help names."""
    parser.add_argument(
        '--value-range',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help='pixel values that become black and white, for images of other than 8 bits (default: '
        f'{default})',
    )


def image_paths(names: Sequence[str], arrays: bool = False) -> list[str]:
    """Return the images that paths of files, folders, text lists and tar shards name.

    Args:
        arrays: whether `.npy` files in folders count.

    Raises:
        FileNotFoundError: files do not exist, or a folder or list has no images.
    """
    from lomar.datasets import list_images
    from lomar.datasets.shards import is_shards
    from lomar.datasets.unlabelled import FILES, holds_images

    paths: list[str] = []
    if missing := [name for name in names if not (is_shards(name) or os.path.exists(name))]:
        raise FileNotFoundError(f'{len(missing)} IMAGES do not exist, such as {missing[:3]}')
    for name in names:
        paths += list_images(name, arrays, advice=FILES) if holds_images(name) else [name]
    return paths


def report_unreadable(unreadable: dict[str, str], images: int) -> None:
    """Raise an OSError that names the images without a result, after the others were written."""
    if unreadable:
        names = [f'  {path}: {reason}' for path, reason in unreadable.items()]
        what = f'{len(names)} of {images} images cannot be read and were left out:'
        raise OSError('\n'.join((what, *names)))
