#!/usr/bin/env python
"""Mean and deviation of each channel of a folder of images, as the lines that a config needs."""

import argparse
import sys

from lomar.datasets.channel_statistics import Statistics, channel_statistics
from lomar.utils import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('images', metavar='DIR', help='folder of images, or a text list of them')
    parser.add_argument('--samples', type=int, metavar='N', help='N images, drawn (default: all)')
    parser.add_argument('--json', metavar='FILE', help='write every number to a file')
    args = parser.parse_args()
    try:
        found = channel_statistics(args.images, args.samples, progress=True)
        if args.json:
            write_json(args.json, found.record())
    except (ImportError, OSError, ValueError) as error:
        sys.exit(f'tools/channel_statistics.py: {error}')
    show(found)
    if found.constant:
        sys.exit(
            f'error: channels {found.constant} (from 0) have one value everywhere, and a deviation '
            'of 0 divides nothing; leave them out of the files, or write 1 for their std'
        )


def show(found: Statistics) -> None:
    """Print a table, the lines for the config, and what to look after."""
    kinds = ', '.join(f'{count} {dtype}' for dtype, count in found.dtypes.items())
    print(f'{found.channels} channels; images: {kinds}; {found.pixels} pixels')
    print('channel         mean          std          min          max')
    for channel, row in enumerate(zip(found.mean, found.std, found.low, found.high, strict=True)):
        print(f'{channel:>7}', *(f'{value:>12.6g}' for value in row))
    mean, std = (', '.join(f'{value:.6g}' for value in each) for each in (found.mean, found.std))
    print(f'\ndata_preprocessor=dict(mean=[{mean}], std=[{std}])')
    print(f'in_channels={found.channels}\n')
    if len(found.dtypes) > 1:
        print('warning: the images are of several types; do they have one scale?')
    for path, reason in found.unreadable.items():
        print(f'unreadable, left out: {path}: {reason}')


if __name__ == '__main__':
    main()
