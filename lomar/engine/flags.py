"""Flags of the commands: the union of mmdet's and mmpretrain's, one meaning each."""

import argparse

from mmengine.config import DictAction


def train_parser() -> argparse.ArgumentParser:
    """Flags of `tools/train.py`."""
    parser = _common_parser('Train a model.')
    add = parser.add_argument
    add(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='go on from a checkpoint, without a name from the newest in the work dir',
    )
    add('--no-validate', action='store_true', help='do not evaluate while training')
    add(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by GPUs x batch x accumulation / base_batch_size',
    )
    add('--train-ann', metavar='JSON', help='train on these COCO-format annotations')
    add(
        '--train-images',
        metavar='PATH',
        help='folder of the training images (pretraining: or a text list)',
    )
    add('--tensorboard', action='store_true', help='log for TensorBoard as well')
    return parser


def test_parser() -> argparse.ArgumentParser:
    """Flags of `tools/test.py`."""
    parser = _common_parser('Test a checkpoint: print the results and write metrics.json.')
    add = parser.add_argument
    add('checkpoint', help='checkpoint file')
    add('--out', metavar='DIR', help="keep the detections, in COCO's result format")
    add('--show', action='store_true', help='show every image with its detections in a window')
    add('--show-dir', metavar='DIR', help='save every image with boxes and masks drawn in')
    add('--wait-time', type=float, default=2, help='seconds for which --show shows an image')
    add(
        '--tta',
        action='store_true',
        help='test-time augmentation of boxes, by a flip',
    )
    return parser


def _common_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=description,
        epilog='A flag wins over --cfg-options, which wins over the config file.',
    )
    add = parser.add_argument
    add('config', help='config file')
    add('--work-dir', help='where logs and results go (default: work_dirs/<config name>)')
    add(
        '--amp',
        action='store_true',
        help='mixed precision: bf16 if supported, otherwise fp16 on a GPU and float32 on a CPU',
    )
    add('--no-pin-memory', action='store_true', help='pin_memory=False in all dataloaders')
    add('--no-persistent-workers', action='store_true', help='restart workers every epoch')
    add('--val-ann', metavar='JSON', help='evaluate on these COCO-format annotations')
    add(
        '--val-images',
        metavar='PATH',
        help='folder of the images to evaluate on (pretraining: that the pictures show)',
    )
    add(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )
    add('--launcher', choices=('none', 'pytorch', 'slurm', 'mpi'), default='none')
    add('--local_rank', '--local-rank', type=int, default=0, help='set by launchers')
    return parser
