"""Write the images of a folder or text list into tar shards, for pretraining from few large files.

A shard is an ordinary tar file with an index beside it. `lomar train --train-images
'OUT/{000..127}.tar'` reads it, also from https:// and s3://.
"""

import argparse

from lomar.cli.shared import add_overwrite, count

SHARDS = (
    "Allowed with --index: tar shards, such as 'shards/{000..127}.tar', or a folder of tar files."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        'source',
        metavar='IN',
        help='folder of images, at any depth, or text list; with --index: existing shards',
    )
    add('out', metavar='OUT', nargs='?', help='folder to write 000.tar, 001.tar ... to')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--images-per-shard', metavar='N', type=count, help='images per shard')
    size.add_argument(
        '--megabytes',
        metavar='M',
        type=count,
        default=500,
        help='size in 1,000,000 bytes at which a shard is full',
    )
    add('--check', action='store_true', help='decode all images first; leave out unreadable ones')
    add('--workers', metavar='N', type=count, help='processes of --check (default: one per core)')
    add(
        '--index',
        action='store_true',
        help='write no shards, but the missing indices of the shards IN, made by any program',
    )
    add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Write shards, or indices of shards, and print counts."""
    if args.index:
        index_shards(args)
        return
    if args.out is None:
        raise ValueError('OUT is missing; allowed without it: --index')
    from lomar.datasets.write_shards import write_shards

    done = write_shards(
        args.source,
        args.out,
        args.images_per_shard,
        args.megabytes,
        args.check,
        args.overwrite,
        args.workers,
    )
    for path, reason in done['unreadable'].items():
        print(f'unreadable, left out: {path}: {reason}')
    shards = done['shards']
    kept = f', {done["kept"]} of them kept' if done['kept'] else ''
    print(f'{done["images"]} images, {done["bytes"] / 1e6:.1f} MB in {len(shards)} shards{kept}')
    first, last = (shards[i].removesuffix('.tar') for i in (0, -1))
    name = first if first == last else f'{{{first}..{last}}}'
    print(f"lomar train CONFIG --train-images '{args.out}/{name}.tar'")


def index_shards(args: argparse.Namespace) -> None:
    """Write the indices of local shards, and print the number of images."""
    from lomar.datasets import list_images
    from lomar.datasets.byte_ranges import is_url

    if args.out is not None:
        raise ValueError(f'OUT is {args.out}; allowed with --index: IN only')
    if is_url(args.source):
        raise ValueError(f'--index {args.source}: indices are written on a disk; copy the shards')
    images = list_images(args.source, arrays=True, advice=SHARDS)
    shards = {getattr(image, 'shard', None) for image in images}
    if None in shards:
        raise ValueError(f'{args.source} has image files; allowed with --index: tar files')
    print(f'{len(images)} images in {len(shards)} shards')
