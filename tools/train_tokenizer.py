#!/usr/bin/env python
"""Train a small tokenizer on your images, whose tokens LoMaR can predict (docs/tokens.md)."""

import argparse
import sys
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path

import lomar  # noqa: F401  (registers)
from lomar.targets.tokenizer_training import Settings, train_tokenizer

HELP = {
    'images': 'folder of images at any depth, or a text file with one path a line',
    'out': 'file to write, ending in .pth; figures go to a .json beside it',
    'patch_size': 'pixels; that of the model to be trained',
    'vocabulary': 'number of different tokens',
    'code_dim': 'numbers in an entry of the codebook',
    'hidden': 'width of the encoder and of the decoder',
    'steps': 'of the optimizer',
    'batch_size': 'crops in a step',
    'size': 'side of a crop in pixels',
    'lr': 'largest learning rate',
    'seed': 'the same seed gives the same file on a CPU',
    'workers': 'processes that load images; 0 = none but this one',
    'device': 'where to compute, as PyTorch names it',
    'overwrite': 'replace a file that is there',
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    for field in fields(Settings):
        flag = f'--{field.name.replace("_", "-")}'
        if field.type is bool:
            parser.add_argument(flag, action='store_true', help=HELP[field.name])
        elif field.default is MISSING:
            parser.add_argument(flag, required=True, help=HELP[field.name])
        else:
            parser.add_argument(flag, type=field.type, default=field.default, help=HELP[field.name])
    settings = Settings(**vars(parser.parse_args()))
    try:
        quality, unreadable = train_tokenizer(settings, partial(print, flush=True))
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(f'tools/train_tokenizer.py: {error}')
    for path, reason in unreadable.items():
        print(f'unreadable, replaced: {path}: {reason}')
    print(
        f'reconstruction error {quality.error:.3f} (the mean of each patch: 1, its mean colour: '
        f'{quality.mean_colour_error:.3f})\n'
        f'perplexity of the codebook {quality.perplexity:.0f}, {quality.used:.1%} of the '
        f'{settings.vocabulary} tokens used ({quality.patches} patches)\n'
        f'{settings.out} and {Path(settings.out).with_suffix(".json")} written'
    )


if __name__ == '__main__':
    main()
