#!/usr/bin/env python
"""Plot the loss curve of a work dir: tools/plot_loss.py WORK_DIR [--out FILE]."""

import argparse
import sys
from pathlib import Path

from lomar.visualization import plot_loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('work_dir')
    parser.add_argument('--out', help='image file (default: WORK_DIR/loss.png)')
    args = parser.parse_args()
    try:
        print(plot_loss(args.work_dir, args.out or Path(args.work_dir) / 'loss.png').resolve())
    except FileNotFoundError as error:
        sys.exit(f'tools/plot_loss.py: {error}')


if __name__ == '__main__':
    main()
