"""Print measured results beside published ones, or plot the loss of a training run."""

import argparse
import os
from pathlib import Path

from lomar.cli.shared import add_overwrite

KINDS = ('detection', 'imagenet')  # of results_table, which imports msgspec and yaml
PLOTS = ('.png', '.jpg', '.jpeg', '.pdf', '.svg', '.tif', '.tiff', '.webp')  # of matplotlib


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('metrics', nargs='*', metavar='METRICS', help='metrics.json files of `lomar test`')
    add(
        '--markdown',
        metavar='FILE',
        help='file for a Markdown table; - prints it (default: - without other outputs)',
    )
    add('--csv', metavar='FILE', help='file for the same rows with all figures; - prints them')
    add('--plot', metavar='FILE', help='image file for a bar chart')
    add_overwrite(parser)
    add('--kind', choices=KINDS, help='show only results of this kind')
    add(
        '--loss',
        metavar='WORK_DIR',
        help='plot the loss curve of a work dir instead, into --plot or WORK_DIR/loss.png',
    )


def run(args: argparse.Namespace) -> None:
    """Print or write the rows, or plot the loss."""
    from lomar.utils import atomic_write
    from lomar.visualization import plot_loss
    from lomar.visualization import results_table as results

    _check(args)
    if args.loss:
        print(plot_loss(args.loss, args.plot or Path(args.loss) / 'loss.png').resolve())
        return
    measured = [results.read_metrics(path) for path in args.metrics]
    rows = results.comparison(results.read_published(), measured, args.kind)
    if not rows:
        raise ValueError(f'none of the files holds results of kind {args.kind}')
    alone = not (args.markdown or args.csv or args.plot)
    texts = {'markdown': results.to_markdown, 'csv': results.to_csv}
    for flag, text in texts.items():
        path = getattr(args, flag)
        if path == '-' or (alone and flag == 'markdown'):
            print(text(rows))
        elif path:
            with atomic_write(path) as part:
                part.write_text(text(rows), encoding='utf-8')
    if args.plot:
        from lomar.visualization.results_plot import plot

        plot(rows, args.plot)


def _check(args: argparse.Namespace) -> None:
    """Raise an error for outputs that would be lost, and for flags without an effect."""
    from lomar.utils import check_new, check_suffix

    written: dict[str, str] = {}
    for flag in ('markdown', 'csv', 'plot'):
        if (path := getattr(args, flag)) in (None, '-'):
            continue
        check_new(f'--{flag}', path, overwrite=args.overwrite, inputs=args.metrics)
        if (other := written.setdefault(os.path.realpath(path), flag)) != flag:
            raise ValueError(f'--{flag} is the file of --{other}, {path}; allowed: two files')
    if args.plot:
        check_suffix('--plot', args.plot, PLOTS)
    if args.loss and (args.metrics or args.markdown or args.csv):
        raise ValueError('--loss plots one work dir; METRICS, --markdown and --csv are for tables')
