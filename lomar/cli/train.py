"""Train a model: pretraining, classification, detection or segmentation."""

import argparse

from lomar.cli.shared import add_run_flags, count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_run_flags(parser)
    add(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from CHECKPOINT (default: the newest checkpoint in the work dir)',
    )
    add(
        '--accept-changes',
        action='store_true',
        help='with --resume: continue even if settings differ from those of the checkpoint; the '
        'schedule is that of the config',
    )
    add(
        '--epochs',
        type=count,
        metavar='N',
        help='train for N epochs of your images; warm-up, learning-rate drops, and the intervals '
        'of evaluation and checkpoints are scaled (default: the length in train_cfg)',
    )
    add('--no-validate', action='store_true', help='do not evaluate during training')
    add(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by GPUs x batch x accumulation / base_batch_size',
    )
    add('--train-ann', metavar='JSON', help='COCO annotations to train on')
    add(
        '--train-images',
        metavar='PATH',
        help='folder of the training images (pretraining: or a text list of them, or tar shards, '
        "such as 'shards/{000..127}.tar' in quotes)",
    )
    add(
        '--train-masks',
        metavar='DIR',
        help='folder of the training masks, with a class id per pixel; names are those of the '
        'images',
    )
    add('--tensorboard', action='store_true', help='also log for TensorBoard')
    add(
        '--wandb',
        nargs='?',
        const='lomar',
        metavar='PROJECT',
        help='also log to Weights & Biases, in PROJECT or ENTITY/PROJECT (default: lomar); '
        'WANDB_MODE=offline uploads nothing',
    )
    add(
        '--mlflow',
        nargs='?',
        const=True,
        metavar='URI',
        help='also log to the MLflow server or store at URI (default: mlflow.db in the work dir)',
    )


def run(args: argparse.Namespace) -> None:
    """Check the config and the data, then train.

    Raises:
        RuntimeError: a ValueError after the first step, which is a bug and keeps its traceback.
    """
    from lomar import engine

    if args.print_config:
        engine.print_config(engine.train_config, args)
        return
    cfg = engine.train_config(args)
    if args.dry_run:
        print(engine.dry_run(cfg))
        return
    runner = engine.Runner.from_cfg(cfg)
    try:
        runner.train()
    except ValueError as error:
        if runner.has_trained:
            raise RuntimeError(f'training stopped after step {runner.iter}') from error
        raise
