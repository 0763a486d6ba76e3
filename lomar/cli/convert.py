"""Convert a checkpoint between LoMaR, MAE, mmpretrain, timm and detectron2."""

import argparse

from lomar.cli.shared import add_overwrite

# Those of lomar.checkpoints.names, whose import takes torch.
SOURCES = ('official', 'mae', 'mmpretrain', 'timm', 'lomar')
TARGETS = ('lomar', 'backbone', 'classifier', 'timm', 'detectron2')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('checkpoint', metavar='IN', help='file to read: .pth, .pt, .bin or .safetensors')
    add('out', metavar='OUT', help='file to write; its extension selects the format')
    add('--from', dest='source', required=True, choices=SOURCES, help='project that wrote IN')
    add(
        '--to',
        dest='target',
        required=True,
        choices=TARGETS,
        help='project or part of a model that OUT is for',
    )
    add(
        '--num-heads',
        type=int,
        metavar='N',
        help='attention heads, for an encoder with absolute positions and an unusual size',
    )
    add_overwrite(parser)
    add('--weights', choices=('plain', 'ema'), default='plain', help='weights of the checkpoint')


def run(args: argparse.Namespace) -> None:
    """Convert, compare both models on one input, print the table of names."""
    from lomar.checkpoints.convert import convert_file

    conversion = convert_file(
        args.checkpoint,
        args.out,
        args.source,
        args.target,
        args.num_heads,
        args.weights,
        args.overwrite,
    )
    print(f'{args.checkpoint} ({args.source}) -> {args.out} ({args.target})\n{conversion}')
