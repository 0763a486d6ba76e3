#!/usr/bin/env python
"""Convert a checkpoint between LoMaR, MAE, mmpretrain, timm and detectron2."""

import argparse
import sys

from lomar.checkpoints.convert import convert_file
from lomar.checkpoints.names import SOURCES, TARGETS
from lomar.checkpoints.unwrap import KEYS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('checkpoint', help='file to read: .pth, .pt, .bin or .safetensors')
    parser.add_argument('out', help='file to write, in the format that its ending says')
    parser.add_argument('--from', dest='source', required=True, choices=SOURCES)
    parser.add_argument('--to', dest='target', required=True, choices=TARGETS)
    parser.add_argument(
        '--num-heads',
        type=int,
        help='number of heads of an encoder with absolute positions and an unusual size',
    )
    parser.add_argument(
        '--weights',
        choices=KEYS,
        default='plain',
        help='plain weights, or the moving average beside them (default: plain)',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        conversion = convert_file(
            args.checkpoint, args.out, args.source, args.target, args.num_heads, args.weights
        )
    except (OSError, ValueError) as error:
        sys.exit(f'tools/convert_checkpoint.py: {error}')
    print(f'{args.checkpoint} ({args.source}) -> {args.out} ({args.target})\n{conversion}')


if __name__ == '__main__':
    main()
