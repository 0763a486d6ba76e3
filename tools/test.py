#!/usr/bin/env python
"""Test a checkpoint: tools/test.py CONFIG CHECKPOINT [flags]."""

import sys

from mmengine.dist import is_main_process

import lomar.engine


def main() -> None:
    """Read the flags and the config, check the data, test, write metrics.json."""
    args = lomar.engine.test_parser().parse_args()
    try:
        cfg = lomar.engine.test_config(args)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'tools/test.py: {error}')
    runner = lomar.engine.Runner.from_cfg(cfg)
    runner.test()
    if is_main_process():
        print(lomar.engine.write_metrics(runner, args.config, args.checkpoint).resolve())


if __name__ == '__main__':
    main()
