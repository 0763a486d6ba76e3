"""Measure images per second from JPEG files to a training batch, on one core."""

import argparse
import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.loading.regions import benchmark_raster, benchmark_regions
from benchmarks.loading.ways import benchmark_loading
from lomar.provenance import provenance
from lomar.utils import write_json

PROG = 'python -m benchmarks.loading'


def main() -> None:
    parser = argparse.ArgumentParser(
        prog=PROG,
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='file to write results to')
    parser.add_argument(
        '--size', default='500x375', help='width x height of the JPEG files in pixels'
    )
    parser.add_argument('--num-images', type=int, default=48, help='number of JPEG files')
    parser.add_argument(
        '--repeats', type=int, default=11, help='measured rounds, at least 2, after a warm-up'
    )
    parser.add_argument(
        '--quality', type=int, default=90, help='quality of the JPEG files, 1 to 100'
    )
    parser.add_argument(
        '--regions',
        type=int,
        nargs='+',
        metavar='PIXELS',
        help='compare crops of these sides with four windows of each, not loading methods',
    )
    parser.add_argument(
        '--raster',
        type=int,
        metavar='PIXELS',
        help='with --regions: also time a TIFF file of this side, whole and four windows of it',
    )
    args = parser.parse_args()
    if args.repeats < 2:
        parser.error(f'--repeats is {args.repeats}; allowed: at least 2, for a spread')
    width, height = map(int, args.size.split('x'))
    files = width, height, args.num_images, args.repeats, args.quality
    if args.regions:
        made = benchmark_regions(args.regions, *files)
        if args.raster:
            made['raster'] = benchmark_raster(args.raster)
    else:
        made = benchmark_loading(*files)
    command = f'{PROG} {shlex.join(sys.argv[1:])}'
    load = round(os.getloadavg()[0], 2)
    result = dict(command=command, **provenance(load_average=load), **made)
    files = result['files']
    print(f'{files["count"]} files of {args.size} pixels, {files["mean_bytes"] / 1000:.0f} kB each')
    print('\n'.join(region_lines(result) if args.regions else way_lines(result['ways'])))
    if args.json:
        write_json(args.json, result)


def way_lines(ways: dict) -> Iterator[str]:
    """Yield a line of text per loading method."""
    for name, way in ways.items():
        if isinstance(way, str):
            yield f'{name:28}{way}'
        else:
            yield f'{name:28}{speed(way)}{way["times_mmpretrain"]:7.2f} x mmpretrain'


def region_lines(result: dict) -> Iterator[str]:
    """Yield two lines of text per side of a crop, and two for the raster."""
    for scale, row in result['scales'].items():
        yield f'{scale:5} px whole    {speed(row["whole"])}{row["whole"]["bytes"]:12} bytes'
        yield f'         regions  {speed(row["regions"])}{row["regions"]["bytes"]:12} bytes' + (
            f'{row["times_whole"]:7.2f} x whole'
        )
    if raster := result.get('raster'):
        for name in ('whole', 'regions'):
            low, high = raster[name]['range']
            yield (
                f'{raster["side"]:5} px TIFF, {name:8}{raster[name]["milliseconds"]:10.2f} ms '
                f'({low:.2f} to {high:.2f})'
            )


def speed(way: dict) -> str:
    """Return median and quartiles as text."""
    low, high = way['quartiles']
    return f'{way["images_per_second"]:8.1f} images/s ({low:.1f} to {high:.1f})'


if __name__ == '__main__':
    main()
