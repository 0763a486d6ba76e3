"""Write a checkpoint as a folder to share, and upload it to the Hugging Face Hub.

DIR gets model.safetensors (weights without the state of the optimizer), config.json (config, class
names and timm's arguments, as data), README.md (a model card) and metrics.json, if there is one.
"""

import argparse

from lomar.cli.shared import add_overwrite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('checkpoint', metavar='CHECKPOINT', help='checkpoint of a training')
    add('folder', metavar='DIR', help='folder to write')
    add('--weights', choices=('plain', 'ema'), default='plain', help='weights of the checkpoint')
    add(
        '--metrics',
        metavar='FILE',
        help='metrics of `lomar test` (default: metrics.json beside CHECKPOINT, or in the '
        'published folder, if it is of this checkpoint)',
    )
    add(
        '--license',
        type=license_id,
        metavar='ID',
        help='licence of the weights, an identifier of the hub such as apache-2.0, or other:NAME '
        '(default: that of the weights that the training started from, if the checkpoint tells it)',
    )
    add('--push', metavar='ORG/NAME', help='also upload the folder to this repository of the hub')
    add_overwrite(parser)


def license_id(text: str) -> str:
    """Return an identifier of a licence in lower case, as the hub writes it, or other:NAME."""
    from lomar.checkpoints.licenses import checked_license

    try:
        return checked_license(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
