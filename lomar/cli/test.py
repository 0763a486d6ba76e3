"""Test a checkpoint: print its metrics and write metrics.json."""

import argparse
from pathlib import Path

from lomar.cli.shared import add_overwrite, add_run_flags

# By evaluators, in --out.
WRITTEN = ('bbox.json', 'segm.json', 'accuracy.json', 'confusion.png', 'iou.json')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_run_flags(parser)
    add('checkpoint', metavar='CHECKPOINT', help='checkpoint file')
    add('--out', metavar='DIR', help='folder for the predictions, in the COCO results format')
    add_overwrite(parser)
    add('--show', action='store_true', help='show every image with its detections in a window')
    add('--show-dir', metavar='DIR', help='folder for pictures of all images with their detections')
    add('--wait-time', type=float, default=2, help='seconds per image for --show')
    add('--tta', action='store_true', help='test-time augmentation of boxes by a horizontal flip')


def run(args: argparse.Namespace) -> None:
    """Check the config and the data, test, write metrics.json."""
    from mmengine.dist import is_main_process

    from lomar import engine
    from lomar.utils import check_new

    if args.out:
        check_new('--out', *(Path(args.out) / n for n in WRITTEN), overwrite=args.overwrite)
    if args.print_config:
        engine.print_config(engine.test_config, args)
        return
    cfg = engine.test_config(args)
    if args.dry_run:
        print(engine.dry_run(cfg))
        return
    runner = engine.Runner.from_cfg(cfg)
    results = runner.test()
    if is_main_process():
        if args.quiet:  # otherwise, the log has them
            for name, value in results.items():
                print(f'{name}: {value:.6g}' if isinstance(value, float) else f'{name}: {value}')
        print(engine.write_metrics(runner, args.config, args.checkpoint, results).resolve())
        dataset = runner.test_dataloader.dataset
        if left_out := engine.left_out_of(dataset):
            print(f'These metrics cover {len(dataset)} images; {len(left_out)} cannot be read.')
