"""Train a small tokenizer on your images, whose tokens LoMaR can predict (docs/tokens.md)."""

import argparse
from pathlib import Path

# Defaults and meaning of the Settings in lomar.targets, whose import takes torch.
SETTINGS = {
    'patch_size': (16, 'patch side in pixels, that of the model to pretrain'),
    'vocabulary': (1024, 'number of different tokens'),
    'code_dim': (16, 'dimensions of a codebook entry'),
    'hidden': (256, 'width of encoder and decoder'),
    'steps': (2000, 'optimizer steps'),
    'batch_size': (16, 'crops per step'),
    'size': (224, 'crop side in pixels'),
    'lr': (1e-3, 'peak learning rate'),
    'seed': (0, 'the same seed gives the same file on a CPU'),
    'workers': (1, 'processes that load images; 0 = the main process'),
    'device': ('cpu', 'PyTorch device'),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add('--images', metavar='PATH', required=True, help='folder of images, or text list of paths')
    add(
        '--out',
        metavar='FILE',
        required=True,
        help='file to write, ending in .pth; figures go to a .json file beside it',
    )
    for name, (default, meaning) in SETTINGS.items():
        flag = f'--{name.replace("_", "-")}'
        add(flag, type=type(default), default=default, help=meaning)
    add('--overwrite', action='store_true', help='replace an existing file')


def run(args: argparse.Namespace) -> None:
    """Train, write the tokenizer, print how well it reconstructs."""
    from functools import partial

    import lomar.register  # noqa: F401
    from lomar.targets.tokenizer_training import Settings, train_tokenizer

    names = ('images', 'out', *SETTINGS, 'overwrite')
    settings = Settings(**{name: getattr(args, name) for name in names})
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
