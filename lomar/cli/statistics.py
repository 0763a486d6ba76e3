"""Compute statistics of pixels, as lines for a config, or of the objects in a COCO file."""

import argparse
import os

from lomar.cli.shared import add_overwrite, add_value_range, count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        'source',
        metavar='IN',
        help='folder of images, or text list of them; with --objects, a COCO file',
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        '--pixels',
        action='store_true',
        help='mean and standard deviation per channel of images (default)',
    )
    what.add_argument(
        '--objects',
        action='store_true',
        help='objects per image, sizes, shapes and classes of a COCO file',
    )
    add('--num-images', type=count, metavar='N', help='read N random images (default: all)')
    add(
        '--channels',
        type=count,
        help='number of channels of the model; with 1, grey PNG and JPEG files have one channel',
    )
    add_value_range(parser, default='the numbers of the files are not converted')
    add('--json', metavar='FILE', help='file for all figures')
    add('--out', metavar='FILE', help='with --objects: picture to write, a .png, .pdf or .svg')
    add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Print the statistics of pixels or of objects, and write them to the files that are given."""
    from lomar.utils import check_new, check_suffix

    wrong = ('num_images', 'channels', 'value_range') if args.objects else ('out',)
    if given := [name for name in wrong if getattr(args, name) is not None]:
        flag, other = f'--{given[0].replace("_", "-")}', 'pixels' if args.objects else 'objects'
        raise ValueError(f'{flag} is for --{other}')
    if args.out:
        check_suffix('--out', args.out, ('.png', '.pdf', '.svg'))
        check_new('--out', args.out, overwrite=args.overwrite, inputs=[args.source])
    if args.json:
        check_new('--json', args.json, overwrite=args.overwrite, inputs=[args.source])
        if args.out and os.path.realpath(args.out) == os.path.realpath(args.json):
            raise ValueError(f'--out and --json are one file, {args.out}; allowed: two files')
    (run_objects if args.objects else run_pixels)(args)


def run_objects(args: argparse.Namespace) -> None:
    """Print tables, and write the picture."""
    from lomar.annotations import object_statistics
    from lomar.utils import write_json

    found = object_statistics(args.source)
    if args.json:
        write_json(args.json, found.record())
    if args.out:
        from lomar.visualization import plot_objects

        plot_objects(found, args.out)
    print(object_table(found.record()))


def object_table(record: dict) -> str:
    """Return numbers, quantiles and classes as text."""
    from lomar.annotations.source import one_line

    rows = {
        'images': record['images'],
        '  without objects': record['images_without_objects'],
        'objects': record['objects'],
        '  with masks': record['masks'],
        **{f'  {name} (COCO)': number for name, number in record['sizes'].items()},
    }
    lines = [f'{name:20} {number:>9}' for name, number in rows.items()]
    lines += [f'left out: {number} x {name}' for name, number in record['left_out'].items()]
    percent, *quantiles = record['quantiles'].items()
    lines += ['', f'{"quantiles":20}' + ''.join(f'{share:>9} %' for share in percent[1])]
    lines += [f'{name:20}' + ''.join(f'{v:>11.4g}' for v in values) for name, values in quantiles]
    classes = {one_line(name): each for name, each in record['classes'].items()}
    width = max(map(len, classes), default=0)
    lines += ['', f'{"":{width}}   objects    images']
    lines += [
        f'{name:{width}} {each["objects"]:>9} {each["images"]:>9}' for name, each in classes.items()
    ]
    return '\n'.join(lines)


def run_pixels(args: argparse.Namespace) -> None:
    """Print a table and the lines for the config; a ValueError for a constant channel."""
    from lomar.datasets.channel_statistics import channel_statistics
    from lomar.utils import write_json

    if args.value_range and args.channels not in (None, 3):
        raise ValueError(
            f'--value-range converts images to 8-bit RGB, and --channels is {args.channels}; '
            'allowed: 3'
        )
    found = channel_statistics(
        args.source, args.num_images, not args.quiet, args.channels, args.value_range
    )
    if args.json:
        write_json(args.json, found.record())
    show(found)
    if args.value_range:
        print('value_range=[{:g}, {:g}]'.format(*args.value_range))
    if found.constant:
        raise ValueError(
            f'channels {found.constant} (from 0) have one value everywhere, so that their standard '
            'deviation is 0; leave them out of the files, or write 1 for their std'
        )


def show(found) -> None:
    """Print a table, the lines for the config, and warnings."""
    from lomar.datasets.color import dark_note

    kinds = ', '.join(f'{number} {dtype}' for dtype, number in found.dtypes.items())
    print(f'{found.channels} channels; images: {kinds}; {found.count} pixels')
    print('channel         mean          std          min          max')
    for channel, row in enumerate(zip(found.mean, found.std, found.low, found.high, strict=True)):
        print(f'{channel:>7}', *(f'{value:>12.6g}' for value in row))
    mean, std = (', '.join(f'{value:.6g}' for value in each) for each in (found.mean, found.std))
    print(f'\ndata_preprocessor=dict(mean=[{mean}], std=[{std}])')
    print(f'in_channels={found.channels}\n')
    if found.channels == 3 and set(found.dtypes) != {'uint8'}:
        print('convert=False  (in all loaders; else files are converted to 8-bit RGB)\n')
    if len(found.dtypes) > 1:
        print('warning: the images are of several types; do they have one scale?')
    limit = {('uint8',): 255, ('uint16',): 65535}.get(tuple(found.dtypes), 0)
    if found.channels in (1, 3) and (note := dark_note(found.high.max(), limit)):
        print(f'warning: {note}')
    for path, reason in found.unreadable.items():
        print(f'unreadable, left out: {path}: {reason}')
