"""Train a small tokenizer on your images, whose tokens LoMaR can predict (docs/tokens.md)."""

import argparse
from dataclasses import fields
from pathlib import Path

from lomar.cli.shared import add_overwrite
from lomar.targets.tokenizer_settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--images', metavar='PATH', required=True, help='folder of images, or text list of paths')
    add(
        '--out',
        metavar='FILE',
        required=True,
        help='file to write, ending in .pth; figures go to a .json file beside it',
    )
    for each in fields(Settings):
        if each.metadata:
            flag, default = f'--{each.name.replace("_", "-")}', each.default
            add(flag, type=type(default), default=default, help=each.metadata['meaning'])
    add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Train, write the tokenizer, print how well it reconstructs."""
    from functools import partial

    import lomar.register  # noqa: F401
    from lomar.targets.tokenizer_training import train_tokenizer

    settings = Settings(**{each.name: getattr(args, each.name) for each in fields(Settings)})
    log = (lambda _: None) if args.quiet else partial(print, flush=True)
    quality, unreadable = train_tokenizer(settings, log)
    for path, reason in unreadable.items():
        print(f'unreadable, replaced: {path}: {reason}')
    print(
        f'reconstruction error {quality.error:.3f} (the mean of each patch: 1, its mean colour: '
        f'{quality.mean_colour_error:.3f})\n'
        f'perplexity of the codebook {quality.perplexity:.0f}, {quality.used:.1%} of the '
        f'{settings.vocabulary} tokens used ({quality.patches} patches)\n'
        f'{settings.out} and {Path(settings.out).with_suffix(".json")} written'
    )
