"""Compute mean and standard deviation per channel of images, as lines for a config."""

import argparse

from lomar.cli.shared import add_overwrite, count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('images', metavar='IMAGES', help='folder of images, or text list of them')
    add('--num-images', type=count, metavar='N', help='read N random images (default: all)')
    add(
        '--channels',
        type=count,
        help='number of channels of the model; with 1, grey PNG and JPEG files have one channel',
    )
    add('--json', metavar='FILE', help='file for all figures')
    add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Print a table and the lines for the config; a ValueError for a constant channel."""
    from lomar.datasets.channel_statistics import channel_statistics
    from lomar.utils import check_new, write_json

    if args.json:
        check_new('--json', args.json, overwrite=args.overwrite)
    found = channel_statistics(args.images, args.num_images, not args.quiet, args.channels)
    if args.json:
        write_json(args.json, found.record())
    show(found)
    if found.constant:
        raise ValueError(
            f'channels {found.constant} (from 0) have one value everywhere, so that their standard '
            'deviation is 0; leave them out of the files, or write 1 for their std'
        )


def show(found) -> None:
    """Print a table, the lines for the config, and warnings."""
    from lomar.datasets.color import dark_note

    kinds = ', '.join(f'{number} {dtype}' for dtype, number in found.dtypes.items())
    print(f'{found.channels} channels; images: {kinds}; {found.count} pixels')
    print('channel         mean          std          min          max')
    for channel, row in enumerate(zip(found.mean, found.std, found.low, found.high, strict=True)):
        print(f'{channel:>7}', *(f'{value:>12.6g}' for value in row))
    mean, std = (', '.join(f'{value:.6g}' for value in each) for each in (found.mean, found.std))
    print(f'\ndata_preprocessor=dict(mean=[{mean}], std=[{std}])')
    print(f'in_channels={found.channels}\n')
    if found.channels == 3 and set(found.dtypes) != {'uint8'}:
        print('convert=False  (in all loaders; else files are converted to 8-bit RGB)\n')
    if len(found.dtypes) > 1:
        print('warning: the images are of several types; do they have one scale?')
    limit = {('uint8',): 255, ('uint16',): 65535}.get(tuple(found.dtypes), 0)
    if found.channels in (1, 3) and (note := dark_note(found.high.max(), limit)):
        print(f'warning: {note}')
    for path, reason in found.unreadable.items():
        print(f'unreadable, left out: {path}: {reason}')
