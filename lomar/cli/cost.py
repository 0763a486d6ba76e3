"""Estimate the cost of training configs: FLOPs, and hours at a given speed."""

import argparse

from lomar.cli.shared import CONFIG_HELP, add_config_options, add_overwrite, count, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('configs', nargs='+', metavar='CONFIG', help=CONFIG_HELP)
    add_config_options(parser)
    add('--gpus', type=count, help='number of GPUs (default: as many as base_batch_size needs)')
    add(
        '--utilisation',
        type=float,
        metavar='SHARE',
        help='share of --device-tflops that training is assumed to sustain (default: 0.4)',
    )
    speed = parser.add_mutually_exclusive_group()
    for flag, what in (
        ('device-tflops', 'peak speed of one GPU in TFLOP/s, for an estimate'),
        ('images-per-second', 'training speed that was measured on one GPU'),
    ):
        speed.add_argument(f'--{flag}', type=positive, metavar='X', help=what)
    add(
        '--num-images',
        type=count,
        metavar='N',
        help='number of training images, if the data are not on this machine',
    )
    add('--json', metavar='FILE', help='file for all figures')
    add_overwrite(parser)
    add('--markdown', action='store_true', help='print a Markdown table')


def run(args: argparse.Namespace) -> None:
    """Print the estimate of each config."""
    from lomar.cost import hours as cost
    from lomar.engine import read_config
    from lomar.utils import check_new, write_json

    if args.json:
        check_new('--json', args.json, overwrite=args.overwrite, inputs=args.configs)
    speed = cost.Speed(args.device_tflops, args.utilisation, args.images_per_second)
    if args.images_per_second and len(args.configs) > 1:
        raise ValueError(
            f'--images-per-second is the speed of one model; {len(args.configs)} configs found; '
            'allowed: one'
        )
    costs = [
        cost.estimate(name, read_config(name, args.cfg_options), speed, args.gpus, args.num_images)
        for name in args.configs
    ]
    if args.json:
        write_json(args.json, [one.record() for one in costs])
    print(cost.to_markdown(costs) if args.markdown else '\n\n'.join(map(cost.to_text, costs)))
