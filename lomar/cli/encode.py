"""Write the features of images, computed by a pretrained or fine-tuned encoder.

FILE.npz holds `features` (N, D) and `paths` (N). DIR holds features.npy, paths.txt and, with
--patches, the patch features (D, H, W) of image i in patches/i.npy.
"""

import argparse
from pathlib import Path

from lomar.cli.shared import (
    add_overwrite,
    add_value_range,
    count,
    image_paths,
    report_unreadable,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('checkpoint', metavar='CHECKPOINT', help='checkpoint of LoMaR, MAE, mmpretrain or timm')
    add('images', metavar='IMAGES', nargs='+', help='image files, folders or text lists of images')
    add('--out', metavar='FILE.npz|DIR', required=True, help='file or folder to write')
    add('--size', type=count, help='side in pixels to resize and crop to (default: native size)')
    add('--batch-size', type=count, default=64, help='images per batch')
    add('--patches', action='store_true', help='also write patch features; needs a folder')
    add('--weights', choices=('plain', 'ema'), default='plain', help='weights of the checkpoint')
    add(
        '--num-heads',
        type=count,
        help='number of attention heads, if the checkpoint does not determine it',
    )
    for name, what in (('mean', 'mean'), ('std', 'standard deviation')):
        help = f'{what} per channel in pixel units (default: ImageNet, for 8-bit RGB images)'
        add(f'--{name}', type=float, nargs='+', metavar='X', help=help)
    add_value_range(parser)
    add_overwrite(parser)
    add('--device', help='PyTorch device (default: a GPU if there is one)')


def run(args: argparse.Namespace) -> None:
    """Embed the images batch by batch and write the features."""
    import numpy as np
    from tqdm import tqdm

    from lomar.datasets import UnreadableImage
    from lomar.datasets.text_lists import check_lines, write_list
    from lomar.encoder import Encoder
    from lomar.utils import check_device

    out = Path(args.out)
    old = _check_out(out, args.patches, args.overwrite)
    if args.device:
        check_device(args.device)
    images = image_paths(args.images, arrays=bool(args.mean or args.std or args.value_range))
    if out.suffix != '.npz':
        check_lines(images)
    encoder = Encoder(
        args.checkpoint,
        device=args.device,
        num_heads=args.num_heads,
        mean=args.mean,
        std=args.std,
        weights=args.weights,
        value_range=args.value_range,
    )
    for path in old:
        path.unlink()
    pooled: list[np.ndarray] = []
    paths: list[str] = []
    unreadable: dict[str, str] = {}
    for start in tqdm(range(0, len(images), args.batch_size), desc='encoding', unit='batch'):
        batch = images[start : start + args.batch_size]
        while batch:
            try:
                found = encoder(batch, args.batch_size, args.size, args.patches)
            except UnreadableImage as error:
                unreadable[error.path] = error.reason
                batch = [path for path in batch if path != error.path]
                continue
            pooled.append(found.pooled.numpy())
            grids = () if found.patches is None else found.patches
            for index, patches in enumerate(grids, len(paths)):
                _save(out / f'patches/{index}.npy', np.save, patches.numpy())
            paths += batch
            break
    if not paths:
        report_unreadable(unreadable, len(images))
    features = np.concatenate(pooled)
    if out.suffix == '.npz':
        _save(out, np.savez, features=features, paths=np.array(paths))
    else:
        _save(out / 'features.npy', np.save, features)
        write_list(out / 'paths.txt', paths)
    print(f'{len(features)} x {features.shape[1]} features in {out.resolve()}')
    report_unreadable(unreadable, len(images))


def _check_out(out: Path, patches: bool, overwrite: bool) -> list[Path]:
    """Check --out and return the patch features of an earlier run, which are to be removed."""
    from lomar.utils import check_new

    if out.suffix not in ('', '.npz') and not out.is_dir():
        raise ValueError(f'--out is {out}; allowed: a file that ends in .npz, or a folder')
    if out.suffix == '.npz':
        if patches:
            raise ValueError(f'--patches needs a folder, --out is the file {out}')
        check_new('--out', out, overwrite=overwrite)
        return []
    if out.exists() and not out.is_dir():
        raise ValueError(f'--out is {out}, a file; allowed: a folder, or a file that ends in .npz')
    old = sorted((out / 'patches').glob('*.npy'))
    check_new('--out', out / 'features.npy', out / 'paths.txt', *old, overwrite=overwrite)
    return old


def _save(path: Path, save, *arrays, **named) -> None:
    from lomar.utils import atomic_write

    with atomic_write(path) as part, open(part, 'wb') as file:
        save(file, *arrays, **named)
