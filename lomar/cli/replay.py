"""Compute the loss of a saved training step again."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'file', metavar='FILE', help='nonfinite_step_N.pth that `lomar train` wrote to its work dir'
    )
    parser.add_argument('--device', help='PyTorch device (default: a GPU if there is one)')


def run(args: argparse.Namespace) -> None:
    """Print losses and gradient norm of each step in the file."""
    import lomar.register  # noqa: F401
    from lomar.engine.replay_file import replay
    from lomar.utils import check_device

    if args.device:
        check_device(args.device)
    for step in replay(args.file, args.device):
        values = ', '.join(f'{name} {value:.6g}' for name, value in step.losses.items())
        print(f'step {step.step}: {values}, gradient norm {step.gradient_norm:.6g}')
