#!/usr/bin/env python
"""Write a folder of images once more with shorter sides of at most --short-side pixels."""

import argparse
import sys

from lomar.datasets.resize_folder import SUMMARY, resize_images


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('source', metavar='IN', help='folder of images, at any depth')
    parser.add_argument('out', metavar='OUT', help='folder to make, or to go on with')
    parser.add_argument('--short-side', type=int, default=320, help='pixels')
    parser.add_argument('--quality', type=int, default=90, help='of the JPEG files, 1 to 100')
    parser.add_argument('--workers', type=int, help='worker processes (None: one per core)')
    try:
        done = resize_images(**vars(parser.parse_args()))
    except (OSError, ValueError) as error:
        sys.exit(f'tools/resize_images.py: {error}')
    for path, reason in done['unreadable'].items():
        print(f'unreadable, left out: {path}: {reason}')
    counts = ', '.join(f'{done[key]} {key}' for key in ('resized', 'kept', 'already_there'))
    print(f'{counts}, {len(done["unreadable"])} unreadable; see {SUMMARY} in OUT')


if __name__ == '__main__':
    main()
