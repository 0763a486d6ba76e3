"""Export an encoder, a classifier or the features of a detector to ONNX or torch.export.

OUT takes raw pixels of one size: `images`, float32 (batch, channels, height, width), R, G, B from 0
to 255 for 8-bit images; mean and std are inside. OUT is compared with PyTorch before it is written.
"""

import argparse

from lomar.cli.shared import add_overwrite, count

# Those of lomar.export, whose import takes torch.
PARTS = ('encoder', 'classifier', 'features')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('checkpoint', metavar='CHECKPOINT', help='checkpoint of a training run; for an encoder '
        'also of LoMaR, MAE, mmpretrain or timm')  # fmt: skip
    add('out', metavar='OUT', help='file to write; it ends in .onnx or .pt2 (torch.export)')
    add(
        '--size',
        type=count,
        nargs='+',
        required=True,
        metavar='S',
        help='side of the images in pixels, or height and width; OUT refuses other sizes',
    )
    add(
        '--what',
        choices=PARTS,
        help='pooled and patch features of the encoder, logits of the classifier, or maps of the '
        "detector's backbone and pyramid (default: by the kind of the checkpoint)",
    )
    add('--weights', choices=('plain', 'ema'), default='plain', help='weights of the checkpoint')
    add(
        '--num-heads',
        type=count,
        metavar='N',
        help='number of attention heads of an encoder, if the checkpoint does not determine it',
    )
    for name, what in (('mean', 'mean'), ('std', 'standard deviation')):
        help = f'{what} per channel of an encoder in pixel units (default: of the training if '
        help += 'the checkpoint stores it, else ImageNet)'
        add(f'--{name}', type=float, nargs='+', metavar='X', help=help)
    add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Write the file and print the largest difference of each output from PyTorch."""
    from lomar.utils import check_new, check_suffix

    check_suffix('OUT', args.out, ('.onnx', '.pt2'))
    check_new('OUT', args.out, overwrite=args.overwrite)
    if len(args.size) > 2:
        raise ValueError(f'--size is {args.size}; allowed: one side, or height and width')
    size = args.size[0], args.size[-1]

    from lomar.export import export_file, exportable

    source = exportable(
        args.checkpoint, args.what, args.weights, args.mean, args.std, args.num_heads
    )
    found = export_file(source, args.out, size)
    mean = source.facts['mean']
    print(f'{args.out}: images (batch, {len(mean)}, {size[0]}, {size[1]}) float32, raw pixels')
    for name, difference in found.items():
        shape = ', '.join(map(str, ('batch', *difference.shape)))
        print(f'  {name} ({shape}): {difference}')
    if any(side % source.pad_divisor for side in size):
        print(
            f'note: the detector pads images to multiples of {source.pad_divisor} pixels; its own '
            'features are those of a padded image'
        )
