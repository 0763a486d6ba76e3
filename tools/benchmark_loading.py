#!/usr/bin/env python
"""Measure images per second of one core from JPEG files to a training batch of 224 pixels."""

import argparse
import os
import shlex
import sys
from pathlib import Path

from lomar.benchmark.loading import benchmark_loading
from lomar.datasets.resizing import write_json
from lomar.engine.record import provenance


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the result there')
    parser.add_argument('--size', default='500x375', help='width x height of the files in pixels')
    parser.add_argument('--images', type=int, default=48, help='number of files')
    parser.add_argument('--repeats', type=int, default=11, help='rounds after the one to warm up')
    parser.add_argument('--quality', type=int, default=90, help='of the JPEG files, 1 to 100')
    args = parser.parse_args()
    width, height = map(int, args.size.split('x'))
    made = benchmark_loading(width, height, args.images, args.repeats, args.quality)
    command = shlex.join(['python', 'tools/benchmark_loading.py', *sys.argv[1:]])
    load = round(os.getloadavg()[0], 2)
    result = dict(command=command, **provenance(load_average=load), **made)
    files = result['files']
    print(f'{files["count"]} files of {args.size} pixels, {files["mean_bytes"] / 1000:.0f} kB each')
    for name, way in result['ways'].items():
        if isinstance(way, str):
            print(f'{name:28}{way}')
        else:
            low, high = way['quartiles']
            print(
                f'{name:28}{way["images_per_second"]:8.1f} images/s ({low:.1f} to {high:.1f})'
                f'{way["times_mmpretrain"]:7.2f} x mmpretrain'
            )
    if args.json:
        write_json(args.json, result)


if __name__ == '__main__':
    main()
