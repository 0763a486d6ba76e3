#!/usr/bin/env python
"""Print published results beside measured ones: tools/results.py [METRICS.json ...]."""

import argparse
import sys
from pathlib import Path

from lomar.visualization import results

PUBLISHED = Path(__file__).resolve().parents[1] / 'benchmarks' / 'published.yaml'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('metrics', nargs='*', help='files that tools/test.py wrote')
    parser.add_argument('--markdown', help='file, or - for the screen (default: -, if alone)')
    parser.add_argument('--csv', help='file for the same rows with every figure')
    parser.add_argument('--plot', help='image file for bars')
    parser.add_argument('--kind', choices=list(results.METRICS), help='show only this kind')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        measured = [results.read_metrics(path) for path in args.metrics]
        rows = results.comparison(results.read_published(PUBLISHED), measured, args.kind)
        if not rows:
            raise ValueError(f'none of the files holds results of kind {args.kind}')
        if args.markdown == '-' or not (args.markdown or args.csv or args.plot):
            print(results.to_markdown(rows))
        elif args.markdown:
            Path(args.markdown).write_text(results.to_markdown(rows), encoding='utf-8')
        if args.csv:
            Path(args.csv).write_text(results.to_csv(rows), encoding='utf-8')
        if args.plot:
            results.plot(rows, args.plot)
    except (OSError, ValueError) as error:
        sys.exit(f'tools/results.py: {error}')


if __name__ == '__main__':
    main()
