#!/usr/bin/env python
"""Estimate what it costs to train configs: FLOPs, and hours from them and a speed."""

import argparse
import sys

from mmengine.config import Config, DictAction

from lomar.cost import hours as cost
from lomar.engine import merge_options
from lomar.utils import write_json


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help='configs of pretraining, classifiers, R-CNNs')
    add('--gpus', type=int, help="default: as many as make the batch of the config's recipe")
    add('--device-tflops', type=float, metavar='X', help='peak of a GPU in TFLOP/s')
    add(
        '--utilisation',
        type=float,
        metavar='SHARE',
        help='of --device-tflops that training is assumed to sustain (default: 0.4)',
    )
    add(
        '--images-per-second',
        type=float,
        metavar='Y',
        help='measured on one GPU, in place of --device-tflops',
    )
    add('--images', type=int, metavar='N', help='training images, where the data are not here')
    add('--json', metavar='FILE', help='write every figure to a file')
    add('--markdown', action='store_true', help='print a table')
    add(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        speed = cost.Speed(args.device_tflops, args.utilisation, args.images_per_second)
        if args.images_per_second and len(args.configs) > 1:
            raise ValueError(
                f'--images-per-second is of one model, found {len(args.configs)} configs; name one'
            )
        costs = []
        for name in args.configs:
            cfg = Config.fromfile(name)
            merge_options(cfg, args.cfg_options or {})
            costs.append(cost.estimate(name, cfg, speed, args.gpus, args.images))
        if args.json:
            record = [one.record() for one in costs]
            write_json(args.json, record)
    except (OSError, ValueError) as error:
        sys.exit(f'tools/estimate_cost.py: {error}')
    print(cost.to_markdown(costs) if args.markdown else '\n\n'.join(map(cost.to_text, costs)))


if __name__ == '__main__':
    main()
