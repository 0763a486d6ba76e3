"""Write the features of images, computed by a pretrained or fine-tuned encoder.

FILE.npz and FILE.parquet hold `features` (N, D) and `paths` (N). DIR holds features.npy, paths.txt
and, with --patches, the patch features (D, H, W) of image i in patches/i.npy. The pictures of --map
are in FILE_pca/, FILE_similarity/, DIR/pca/ or DIR/similarity/, one per image.
"""

import argparse
import contextlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lomar.cli.shared import (
    add_overwrite,
    add_value_range,
    count,
    image_paths,
    report_unreadable,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from lomar.encoder import Encoder

FILES = ('.npz', '.parquet')
CENTRE = (0.5, 0.5)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('checkpoint', metavar='CHECKPOINT', help='checkpoint of LoMaR, MAE, mmpretrain or timm')
    add('images', metavar='IMAGES', nargs='+', help='image files, folders or text lists of images')
    add('--out', metavar='FILE.npz|FILE.parquet|DIR', required=True, help='file or folder to write')
    add(
        '--size',
        type=count,
        help='side in pixels to resize and crop to, such as that of the training (default: native '
        'size, which is slow for large images)',
    )
    add(
        '--batch-size',
        type=count,
        default=64,
        help='images per batch at most; a batch of large images has fewer',
    )
    add('--patches', action='store_true', help='also write patch features; needs a folder')
    add(
        '--map',
        choices=('pca', 'similarity'),
        help='also draw patch features beside each image: their first three principal components '
        'over all images as red, green and blue (which encodes the images twice), or their cosine '
        'similarity to one patch',
    )
    add(
        '--at',
        nargs=2,
        type=_place,
        metavar=('X', 'Y'),
        help='position of the patch of --map similarity: whole numbers are pixels of the image '
        'after --size, numbers with a point are shares of width and height (default: the center, '
        '0.5 0.5)',
    )
    add('--weights', choices=('plain', 'ema'), default='plain', help='weights of the checkpoint')
    add(
        '--num-heads',
        type=count,
        help='number of attention heads, if the checkpoint does not determine it',
    )
    for name, what in (('mean', 'mean'), ('std', 'standard deviation')):
        help = f"{what} per channel in pixel units (default: timm's config.json, else ImageNet)"
        add(f'--{name}', type=float, nargs='+', metavar='X', help=help)
    add_value_range(parser)
    add_overwrite(parser)
    add('--device', help='PyTorch device (default: a GPU if there is one)')


def run(args: argparse.Namespace) -> None:
    """Embed the images batch by batch, write the features, and draw them."""
    import numpy as np

    from lomar.datasets.folder_walk import mark_pictures
    from lomar.visualization import RunningPCA, pca_picture, similarity_picture
    from lomar.visualization.encoded_images import check_images, patch_of

    out = Path(args.out)
    if args.at and args.map != 'similarity':
        raise ValueError('--at has no effect without --map similarity')
    encoder = _encoder(args)
    images = image_paths(args.images, arrays=encoder.input.reading.reads_arrays)
    old = _check_out(out, args.patches, args.overwrite, images)
    _check_names(out, images)
    pictures = _picture_paths(out, images, args) if args.map else {}
    at = (args.at or CENTRE) if args.map == 'similarity' else None
    if note := check_images(encoder, images, args.size, at):
        print(f'Note: {note}', flush=True)
    for path in old:
        path.unlink()
    pooled: list[np.ndarray] = []
    paths: list[str] = []
    unreadable: dict[str, str] = {}
    pca = RunningPCA(len(images))
    for name, pixels, vector, patches in _encoded(encoder, images, args, unreadable, 'encoding'):
        if args.patches:
            _save(out / f'patches/{len(paths)}.npy', np.save, patches.numpy())
        if args.map == 'pca':
            pca.add(patches)
        elif at:
            mark_pictures(_picture_folder(out, args.map))
            place = patch_of(encoder, pixels, at)
            _save(pictures[name], similarity_picture(pixels, patches, *place).save, format='PNG')
        pooled.append(vector.numpy())
        paths.append(name)
    if not paths:
        report_unreadable(unreadable, len(images))
    features = np.stack(pooled)
    _write(out, features, paths)
    print(f'{len(features)} x {features.shape[1]} features in {out.resolve()}')
    if args.map == 'pca':
        mark_pictures(_picture_folder(out, args.map))
        components, names = pca.components(), list(dict.fromkeys(paths))
        for name, pixels, _, patches in _encoded(encoder, names, args, unreadable, 'drawing'):
            _save(pictures[name], pca_picture(pixels, patches, components).save, format='PNG')
    if args.map:
        print(f'pictures in {_picture_folder(out, args.map).resolve()}')
    report_unreadable(unreadable, len(images))


def _encoder(args: argparse.Namespace) -> 'Encoder':
    """Return the encoder of the flags."""
    from lomar.encoder import Encoder
    from lomar.utils import check_device

    if args.device:
        check_device(args.device)
    return Encoder(
        args.checkpoint,
        device=args.device,
        num_heads=args.num_heads,
        mean=args.mean,
        std=args.std,
        weights=args.weights,
        value_range=args.value_range,
    )


def _encoded(
    encoder: 'Encoder',
    images: Sequence[str],
    args: argparse.Namespace,
    unreadable: dict[str, str],
    what: str,
) -> 'Iterator[tuple[str, Tensor, Tensor, Tensor]]':
    """Yield name, pixels (C, H, W), pooled features (D,) and patch features (D, H/P, W/P).

    The patch features are empty if nothing uses them.

    Args:
        unreadable: receives name and reason of each image that cannot be read, or is not supported.
    """
    import torch
    from tqdm import tqdm

    from lomar.datasets.unreadable import IMAGE_ERRORS

    used = bool(args.patches or args.map)

    def read() -> 'Iterator[tuple[str, Tensor]]':
        for name in images:
            try:
                yield name, encoder.read(name, args.size)
            except IMAGE_ERRORS as error:
                unreadable[name] = getattr(error, 'reason', str(error))
                bar.update()

    with tqdm(total=len(images), desc=what, unit='img') as bar:
        for batch in encoder.batches(read(), args.batch_size):
            found = encoder([pixels for _, pixels in batch], len(batch), patches=used)
            grids = torch.empty(len(batch), 0) if found.patches is None else found.patches
            for (name, pixels), vector, grid in zip(batch, found.pooled, grids, strict=True):
                yield name, pixels, vector, grid
                bar.update()


def _place(text: str) -> int | float:
    """Return a position in an image: a number of pixels, or a share of its width or height."""
    if text.isdecimal():
        return int(text)
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    allowed = 'a whole number of pixels, or a share from 0.0 to 1.0'
    raise argparse.ArgumentTypeError(f'{text} found; allowed: {allowed}')


def _check_out(out: Path, patches: bool, overwrite: bool, images: Sequence[str]) -> list[Path]:
    """Check --out and return the patch features of an earlier run, which are to be removed."""
    from lomar.utils import check_new

    allowed = f'a file that ends in {" or ".join(FILES)}'
    if out.suffix not in ('', *FILES) and not out.is_dir():
        raise ValueError(f'--out is {out}; allowed: {allowed}, or a folder')
    if out.suffix in FILES:
        if patches:
            raise ValueError(f'--patches needs a folder, --out is the file {out}')
        if out.suffix == '.parquet' and find_spec('pyarrow') is None:
            raise ValueError(f"--out {out} needs pyarrow: pip install 'lomar-openmmlab[parquet]'")
        check_new('--out', out, overwrite=overwrite)
        return []
    if out.exists() and not out.is_dir():
        raise ValueError(f'--out is {out}, a file; allowed: a folder, or {allowed}')
    written = [out / 'features.npy', out / 'paths.txt']
    # Other arrays, such as images of the user, are kept.
    numbered = [file for file in (out / 'patches').glob('*.npy') if file.stem.isdecimal()]
    old = sorted(numbered) if written[0].exists() else []
    new = [out / f'patches/{place}.npy' for place in range(len(images))] if patches else []
    check_new('--out', *written, *{*old, *new}, overwrite=overwrite, inputs=images)
    return old


def _check_names(out: Path, images: Sequence[str]) -> None:
    """Check that the output can hold the paths of the images."""
    from lomar.datasets.text_lists import check_lines

    if out.suffix == '.parquet':
        for name in images:
            try:
                name.encode()
            except UnicodeEncodeError:
                raise ValueError(
                    f'--out {out}: {name} is no name in UTF-8, as Parquet needs; rename the image, '
                    'or write a file that ends in .npz, or a folder'
                ) from None
    elif out.suffix != '.npz':
        check_lines(images)


def _picture_folder(out: Path, kind: str) -> Path:
    return out.with_name(f'{out.stem}_{kind}') if out.suffix in FILES else out / kind


def _picture_paths(out: Path, images: Sequence[str], args: argparse.Namespace) -> dict[str, Path]:
    """Return the path of the picture of each image, all of them new or to be replaced."""
    from lomar.utils import check_new
    from lomar.visualization.output_paths import check_images_kept, output_paths

    folder, names = _picture_folder(out, args.map), output_paths(images, '.png')
    check_images_kept('--out', folder, names)
    paths = {image: folder / name for image, name in names.items()}
    check_new('--out', *paths.values(), overwrite=args.overwrite)
    return paths


def _write(out: Path, features: 'np.ndarray', paths: list[str]) -> None:
    """Write features (N, D) and paths in the format of the file name, or into a folder."""
    import numpy as np

    from lomar.datasets.text_lists import write_list

    if out.suffix == '.npz':
        _save(out, np.savez, features=features, paths=np.array(paths))
    elif out.suffix == '.parquet':
        import pyarrow
        from pyarrow.parquet import write_table

        column = pyarrow.FixedSizeListArray.from_arrays(features.ravel(), features.shape[1])
        table = pyarrow.table(dict(paths=pyarrow.array(paths, 'string'), features=column))
        _save(out, lambda file: write_table(table, file))
    else:
        _save(out / 'features.npy', np.save, features)
        write_list(out / 'paths.txt', paths)


def _save(path: Path, save, *arrays, **named) -> None:
    from lomar.utils import atomic_write

    with atomic_write(path) as part, open(part, 'wb') as file:
        save(file, *arrays, **named)
