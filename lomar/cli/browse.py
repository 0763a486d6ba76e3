"""Draw what a model trains on: augmented images with windows and masks, or detections.

For a LoMaR config, the picture shows augmented training images with windows and masks. With
--detections, it shows the results of a detector below the annotations.
"""

import argparse
from pathlib import Path

from lomar.cli.shared import add_config, add_overwrite, count

OUT, THRESHOLD = 'browse.png', 0.5
MAX_CELL = 480  # pixels of a picture's side


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add_config(parser)
    add('--train-images', metavar='PATH', help='folder, text list or tar shards to draw from')
    add('--num-images', type=count, default=8, help='number of images to draw')
    add('--seed', type=int, help='seed of augmentation, windows and masks (default: 0)')
    add('--detections', metavar='JSON', help='segm.json or bbox.json of `lomar test --out`')
    add('--val-ann', metavar='JSON', help='COCO annotations of the tested images')
    add('--val-images', metavar='DIR', help='folder of the tested images')
    add(
        '--threshold',
        type=float,
        metavar='SCORE',
        help=f'lowest score of a detection to draw (default: {THRESHOLD})',
    )
    add('--out', metavar='FILE', help=f'image file to write (default: {OUT}, which is replaced)')
    add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Draw into one image file."""
    from PIL import Image

    from lomar.datasets.folder_walk import SUFFIXES
    from lomar.engine import read_config
    from lomar.utils import atomic_write, check_new, check_suffix

    _check_mode(args)
    if args.out:
        check_suffix('--out', args.out, SUFFIXES)
        check_new('--out', args.out, overwrite=args.overwrite)
    cfg = read_config(args.config, args.cfg_options)
    picture, what = (_detections if args.detections else _samples)(cfg, args)
    out = Path(args.out or OUT)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as part:  # a picture that cannot be written replaces nothing
        picture.save(part, format=Image.registered_extensions()[out.suffix.lower()])
    print(f'{what} in {out.resolve()}')


def _check_mode(args: argparse.Namespace) -> None:
    """Raise a ValueError for flags of detections without --detections, and the other way round."""
    wrong = ('train_images', 'seed') if args.detections else ('val_ann', 'val_images', 'threshold')
    if given := [name for name in wrong if getattr(args, name) is not None]:
        mode = 'with' if args.detections else 'without'
        raise ValueError(f'--{given[0].replace("_", "-")} has no effect {mode} --detections')


def _samples(cfg, args: argparse.Namespace):
    """Return a picture of samples as training gets them, and a line about it."""
    from mmengine.registry import DATASETS, MODELS, init_default_scope
    from tqdm import tqdm

    from lomar.datasets.readable import samples
    from lomar.datasets.replay import Draw
    from lomar.engine import check_data
    from lomar.engine.task_data import set_unlabelled
    from lomar.utils import inner_datasets, type_name
    from lomar.visualization import reconstruct, sheet

    if type_name(cfg.model) != 'LoMaR':
        raise ValueError(
            f'{args.config}: model.type is {cfg.model.type}; allowed: LoMaR, or a detector with '
            '--detections'
        )
    if args.train_images:
        set_unlabelled(cfg, args.train_images)
    check_data(cfg, ('train',))
    # Windows do not depend on the target, whose network may be large or missing.
    cfg.model.head = dict(type='WindowPixelHead')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    rows, seed = [], args.seed or 0
    for i in tqdm(range(min(args.num_images, len(dataset))), desc='drawing', unit='img'):
        index = i * len(dataset) // args.num_images
        (sample,) = samples(dataset, [Draw(index, (seed, i))])
        rows += reconstruct(model, [sample['inputs']], seed + i, predict=False)
    roots = dict.fromkeys(part.data_root for part in inner_datasets(dataset))
    return sheet(rows, MAX_CELL), f'{len(rows)} images of {", ".join(roots)}'


def _detections(cfg, args: argparse.Namespace):
    """Return a picture of annotations and detections, and a line about it."""
    from lomar.detection import tested_files, use_files
    from lomar.detector import check_threshold
    from lomar.engine.task_data import detects
    from lomar.visualization.detections import detection_sheet

    threshold = THRESHOLD if args.threshold is None else args.threshold
    check_threshold(threshold)
    if not detects(cfg):
        raise ValueError('--detections belongs to detection configs')
    annotations, images = args.val_ann, args.val_images
    if not (annotations and images):
        use_files(cfg, val_ann=annotations, val_images=images)
        annotations, images = tested_files(cfg)
    picture = detection_sheet(annotations, images, args.detections, args.num_images, threshold)
    return picture, f'detections on {images}'
