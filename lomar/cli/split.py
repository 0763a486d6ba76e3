"""Split a COCO file by image into train, val and test, with similar shares of every class."""

import argparse

from lomar.cli.shared import add_overwrite


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('annotations', metavar='IN.json', help='COCO file')
    add(
        '--out',
        metavar='DIR',
        required=True,
        help='folder for train.json, val.json and, with 3 fractions, test.json',
    )
    shares = parser.add_mutually_exclusive_group()
    shares.add_argument(
        '--fractions',
        nargs='+',
        type=float,
        metavar='F',
        help='shares of train, val and, if given, test; their sum is 1',
    )
    shares.add_argument('--val', type=float, default=0.2, metavar='F', help='share of val')
    add('--seed', type=int, default=0, help='another seed gives another split')
    add(
        '--group',
        metavar='REGEX',
        help='images with the same text in the parentheses of this regular expression, searched in '
        "file_name, get into one part, for example 'patient(\\d+)'",
    )
    add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Write one file per part and print a table."""
    import os

    from lomar.annotations import split_coco, split_notes, split_table
    from lomar.utils import check_new, write_json

    fractions = checked_fractions(args.fractions or [1 - args.val, args.val])
    check_group(args.group)
    names = ('train', 'val', 'test')[: len(fractions)]
    paths = {name: os.path.join(args.out, f'{name}.json') for name in names}
    check_new('--out', *paths.values(), overwrite=args.overwrite, inputs=[args.annotations])
    parts = split_coco(args.annotations, fractions, args.seed, args.group)
    for name, coco in parts.items():
        write_json(paths[name], coco, indent=None)
    print(split_table(parts))
    for note in split_notes(parts):
        print(f'Note: {note}')


def checked_fractions(fractions: list[float]) -> list[float]:
    """Return the shares; a ValueError unless they are 2 or 3 numbers above 0 with the sum 1."""
    wrong = len(fractions) not in (2, 3) or not all(share > 0 for share in fractions)
    if wrong or abs(sum(fractions) - 1) > 1e-6:
        text = ' '.join(f'{share:g}' for share in fractions)
        raise ValueError(f'fractions are {text}; allowed: 2 or 3 numbers above 0 with the sum 1')
    return fractions


def check_group(pattern: str | None) -> None:
    """Raise a ValueError unless the text is a regular expression."""
    import re

    try:
        re.compile(pattern or '')
    except re.error as error:
        raise ValueError(f'--group {pattern!r} is no regular expression: {error}') from None
