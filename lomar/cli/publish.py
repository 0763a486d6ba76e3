"""Write a checkpoint as a folder to share, and upload it to the Hugging Face Hub.

DIR gets model.safetensors (weights without the state of the optimizer), config.json (config, class
names and timm's arguments, as data), README.md (a model card) and metrics.json, if there is one.
"""

import argparse
import re

from lomar.cli.shared import add_overwrite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('checkpoint', metavar='CHECKPOINT', help='checkpoint of a training')
    add('folder', metavar='DIR', help='folder to write')
    add('--weights', choices=('plain', 'ema'), default='plain', help='weights of the checkpoint')
    add(
        '--metrics',
        metavar='FILE',
        help='metrics of `lomar test` (default: metrics.json beside CHECKPOINT, if it is of this '
        'checkpoint)',
    )
    add(
        '--license',
        type=license_id,
        metavar='ID',
        help='licence of the weights, such as apache-2.0 (default: that of the weights that the '
        'training started from, if the checkpoint tells it)',
    )
    add('--push', metavar='ORG/NAME', help='also upload the folder to this repository of the hub')
    add_overwrite(parser)


def license_id(text: str) -> str:
    """Return an identifier of a licence in lower case, as the hub writes it."""
    if not re.fullmatch(r'[A-Za-z0-9][\w.+-]*', text):
        raise argparse.ArgumentTypeError(f'{text!r} found; allowed: an identifier, e.g. apache-2.0')
    return text.lower()


def run(args: argparse.Namespace) -> None:
    """Write and check the folder, then upload it."""
    from lomar.checkpoints import hub
    from lomar.checkpoints.publish import publish
    from lomar.checkpoints.published import WEIGHTS, weights_file

    place = f'hf://{hub.check_push(args.push).name}' if args.push else None
    done = publish(
        args.checkpoint,
        args.folder,
        args.weights,
        args.metrics,
        args.license,
        place,
        args.overwrite,
    )
    for note in done.notes:
        print(f'Note: {note}')
    size = (done.folder / WEIGHTS).stat().st_size
    source = weights_file(args.checkpoint)
    before = f' (CHECKPOINT: {source.stat().st_size / 1e6:.1f} MB)' if source.is_file() else ''
    print(
        f'{done.tensors} tensors, {size / 1e6:.1f} MB{before}, written and compared; licence: '
        f'{done.license or "unknown"}\n{done.folder.resolve()}: {", ".join(done.files)}'
    )
    if args.push:
        print(hub.push(done.folder, args.push, done.files))
