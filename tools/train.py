#!/usr/bin/env python
"""Train a model: tools/train.py CONFIG [flags]."""

import sys

import lomar.engine


def main() -> None:
    """Read the flags and the config, check the data, train."""
    args = lomar.engine.train_parser().parse_args()
    try:
        cfg = lomar.engine.train_config(args)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'tools/train.py: {error}')
    lomar.engine.Runner.from_cfg(cfg).train()


if __name__ == '__main__':
    main()
