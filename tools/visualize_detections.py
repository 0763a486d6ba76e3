#!/usr/bin/env python
"""Draw detections that `tools/test.py --out` kept, below what is annotated."""

import argparse
import sys
from pathlib import Path

from lomar.visualization.detections import detection_sheet


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('annotations', help='COCO-format annotations of the tested images')
    parser.add_argument('images', help='folder of the images')
    parser.add_argument('results', help='segm.json or bbox.json')
    parser.add_argument('--number', type=int, default=6, help='images to draw, the first ones')
    parser.add_argument('--threshold', type=float, default=0.5, help='least score that is drawn')
    parser.add_argument('--out', default='detections.png', help='image file')
    args = parser.parse_args()
    try:
        sheet = detection_sheet(
            args.annotations, args.images, args.results, args.number, args.threshold
        )
        sheet.save(args.out)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f'tools/visualize_detections.py: {error!r}')
    print(Path(args.out).resolve())


if __name__ == '__main__':
    main()
