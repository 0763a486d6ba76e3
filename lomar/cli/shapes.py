"""Make the embedded dataset: textured shapes as JPEG files with COCO annotations."""

import argparse

# Those of lomar.datasets, whose import takes torch.
CATEGORIES = ('shape+texture', 'texture', 'object')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('--out', metavar='DIR', default='data/shapes', help='folder to make')
    add('--train', metavar='N', type=int, default=2000, help='number of training images')
    add('--val', metavar='N', type=int, default=400, help='number of validation images')
    add('--size', type=int, default=64, help='image side in pixels, 32 or more')
    add(
        '--categories',
        choices=CATEGORIES,
        default='shape+texture',
        help='classes: 12 shapes with a texture, 3 textures of any shape, or 1 class of all',
    )
    add('--seed', type=int, default=0, help='the same seed gives the same bytes')
    add('--workers', metavar='N', type=int, help='worker processes (default: one per core)')
    add('--overwrite', action='store_true', help='replace a shapes dataset that is in --out')


def run(args: argparse.Namespace) -> None:
    """Draw the images and print the objects per class."""
    from lomar.datasets.shapes import make_shapes

    made = make_shapes(
        args.out,
        args.train,
        args.val,
        args.size,
        args.seed,
        workers=args.workers,
        categories=args.categories,
        overwrite=args.overwrite,
    )
    for name, number in made['objects'].items():
        print(f'{number:8d} {name}')
    if made['made']:
        speed = made['images'] / made['seconds'] * 60
        print(
            f'{made["images"]} images in {made["out"]}: {made["seconds"]:.1f} s, '
            f'{speed:.0f} images per minute'
        )
    else:
        print(f'{made["images"]} images already in {made["out"]}, left as they are')
