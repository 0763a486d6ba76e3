#!/usr/bin/env python
"""Make the embedded dataset: textured shapes as JPEG files with COCO annotations."""

import argparse
import signal
import sys

from lomar.datasets.shape_drawing import CATEGORIES
from lomar.datasets.shapes import make_shapes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--out', default='data/shapes', help='folder to make')
    parser.add_argument('--train', type=int, default=2000, help='number of training images')
    parser.add_argument('--val', type=int, default=400, help='number of validation images')
    parser.add_argument('--size', type=int, default=64, help='image side in pixels, at least 32')
    parser.add_argument(
        '--categories',
        choices=CATEGORIES,
        default='shape+texture',
        help='what tells objects apart: 12 shapes with a texture, or 3 textures in any shape',
    )
    parser.add_argument('--seed', type=int, default=0, help='the same seed gives the same bytes')
    parser.add_argument('--workers', type=int, help='worker processes (None: one per core)')
    parser.add_argument(
        '--overwrite', action='store_true', help='replace a shapes dataset that is already in --out'
    )
    # A terminated run stops its workers and removes its unfinished folder, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('make_shapes: terminated'))
    try:
        made = make_shapes(**vars(parser.parse_args()))
    except ValueError as error:
        sys.exit(f'make_shapes: {error}')
    for name, count in made['objects'].items():
        print(f'{count:8d} {name}')
    if made['made']:
        speed = made['images'] / made['seconds'] * 60
        print(
            f'{made["images"]} images in {made["out"]}: {made["seconds"]:.1f} s, '
            f'{speed:.0f} images a minute'
        )
    else:
        print(f'{made["images"]} images already in {made["out"]}, left as they are')


if __name__ == '__main__':
    main()
