"""Time the parts of a Mask R-CNN outside the backbone, with mmdet's data pipeline and ours."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from mmengine.config import Config

from benchmarks.detector.parts import benchmark_detector
from benchmarks.detector.report import to_markdown
from lomar.provenance import provenance
from lomar.utils import write_json

PROG = 'python -m benchmarks.detector'

CONFIG = 'mmconfigs/detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('config', nargs='?', default=CONFIG, help='config of a Mask R-CNN')
    parser.add_argument('--json', type=Path, metavar='FILE', help='file to write results to')
    parser.add_argument(
        '--num-images', type=int, default=16, help='images per round of the pipeline'
    )
    parser.add_argument(
        '--repeats', type=int, default=3, help='rounds of the pipeline and of the evaluation'
    )
    parser.add_argument('--steps', type=int, default=3, help='training steps per data pipeline')
    parser.add_argument('--evaluated', type=int, default=100, help='images in the evaluation')
    args = parser.parse_args()
    made = benchmark_detector(
        Config.fromfile(args.config), args.num_images, args.repeats, args.steps, args.evaluated
    )
    print(to_markdown(made))
    if args.json:
        command = f'{PROG} {shlex.join(sys.argv[1:])}'
        load = round(os.getloadavg()[0], 2)
        write_json(args.json, dict(command=command, **provenance(load_average=load), **made))


if __name__ == '__main__':
    main()
