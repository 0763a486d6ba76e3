"""Write a downscaled copy of an image folder as ordinary image files."""

import argparse
from pathlib import Path

from lomar.cli.shared import add_value_range, count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('source', metavar='IN', help='folder of images, at any depth')
    add('out', metavar='OUT', help='folder to write; existing files are kept')
    add('--short-side', type=int, default=320, help='largest length of the shorter side in pixels')
    add('--quality', type=int, default=90, help='JPEG quality, 1 to 100')
    add_value_range(parser)
    add('--workers', metavar='N', type=count, help='worker processes (default: one per core)')


def run(args: argparse.Namespace) -> None:
    """Resize and print counts."""
    from lomar.datasets.resize_folder import SUMMARY, resize_images

    done = resize_images(
        args.source, args.out, args.short_side, args.quality, args.workers, args.value_range
    )
    for path, reason in done['unreadable'].items():
        print(f'unreadable, left out: {path}: {reason}')
    print(
        f'{done["resized"]} resized, {done["converted"]} converted, {done["kept"]} kept, '
        f'{done["already_there"]} there already, {len(done["unreadable"])} unreadable; '
        f'details in {Path(args.out) / SUMMARY}'
    )
