"""Predict objects, classes or segmentations of images and videos, from a checkpoint alone.

DIR gets predictions.json (a list in COCO's results format), images.json (ids, paths, sizes and
categories), predictions.csv and, for detectors and segmentors, a picture per image in DIR/pictures.
For segmentors, DIR/masks gets a PNG file of class ids per image.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lomar.cli.shared import add_overwrite, add_value_range, count, count_or_zero, report_unreadable

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from lomar.image_model import Loaded
    from lomar.large_images import LargeDetections

    Ready = Loaded | LargeDetections

THRESHOLD, TOP_K = 0.3, 5
WHAT = dict(detector='objects', classifier='classes', segmentor='masks')
# What a model of another kind takes in place of a flag.
INSTEAD_OF_THRESHOLD = dict(classifier='--top-k', segmentor='no flag')
INSTEAD_OF_TILE = dict(
    classifier='whole images',
    segmentor="model.test_cfg of the training with mode='slide', which predicts in windows",
)
INSTEAD_OF_TOP_K = dict(detector='--threshold', segmentor='no flag')
LONGEST = 4000  # pixels of the picture of an image that is predicted in tiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add('checkpoint', metavar='CHECKPOINT', help='checkpoint of a training of `lomar train`')
    add(
        'images',
        metavar='IMAGES',
        nargs='+',
        help='images, videos, folders of images, text lists, quoted globs, http(s) addresses',
    )
    add('--out', metavar='DIR', required=True, help='folder for the results')
    add(
        '--threshold',
        type=float,
        metavar='SCORE',
        help=f'smallest score of an object, inclusive; for detectors (default: {THRESHOLD})',
    )
    add(
        '--top-k',
        type=count,
        metavar='K',
        help=f'number of classes per image; for classifiers (default: {TOP_K})',
    )
    add('--batch', type=count, default=1, metavar='N', help='images, or tiles, per forward pass')
    add(
        '--tile',
        type=count,
        metavar='PIXELS',
        help='detect objects in tiles of this side, for large images (default: in whole images)',
    )
    add(
        '--overlap',
        type=count_or_zero,
        metavar='PIXELS',
        help='least overlap of neighbouring tiles (default: an eighth of --tile)',
    )
    add('--weights', choices=('plain', 'ema'), default='plain', help='weights of the checkpoint')
    add('--no-pictures', action='store_true', help='write no pictures')
    add_value_range(parser)
    add_overwrite(parser)
    add('--device', help='PyTorch device (default: a GPU if there is one)')


class Steps(NamedTuple):
    """The steps of a prediction.

    Attributes:
        load: returns an image, a path or pixels, ready for the model, and its size; an image that
            the model does not support raises a ValueError, a damaged one an `UnreadableImage`. A
            large image is read and predicted in one step, tile by tile.
        predict: returns the predictions of a batch of loaded images.
        draw: returns the picture of a prediction and its image.
        batch: number of images that are loaded at a time.
    """

    load: Callable[[Any], 'Ready']
    predict: Callable[[Sequence[Any]], list]
    draw: Callable[[Any, Any], 'Picture']
    batch: int


def run(args: argparse.Namespace) -> None:
    """Predict image by image and write the results of each."""
    from contextlib import ExitStack, closing
    from tempfile import TemporaryDirectory

    from tqdm import tqdm

    from lomar.prediction import Masks, Pictures, ResultFiles, find_sources, items
    from lomar.prediction.items import forget

    _check(args)
    out, model = Path(args.out), _model(args)
    steps = _tile_steps(args, model) if args.tile else _steps(args, model)
    sources, common = find_sources(args.images, model.reads_arrays)
    unreadable: dict[str, str] = {}
    with ExitStack() as stack:
        pictures = masks = None
        if model.kind != 'classifier' and not args.no_pictures:
            pictures = stack.enter_context(closing(Pictures(out / 'pictures', sources, common)))
        if model.kind == 'segmentor':
            masks = Masks(out / 'masks', sources, common)
        files = stack.enter_context(ResultFiles(out, model.trained, common))
        folder = stack.enter_context(TemporaryDirectory())
        found = items(sources, folder, unreadable)
        total = None if any(source.is_video for source in sources) else len(sources)
        bar = stack.enter_context(tqdm(total=total, desc='predicting', unit='img'))
        for batch in _batches(found, steps, unreadable):
            for item, loaded, prediction in _predicted(batch, steps, unreadable):
                mask = masks.add(item, prediction.ids) if masks else None
                files.add(item, loaded.height, loaded.width, prediction, mask)
                if pictures is not None:
                    pictures.add(item, steps.draw(prediction, item.image))
            for item, _ in batch:
                forget(item)
            bar.update(len(batch))
    if files.images:
        number = '' if masks else f'{files.predictions} '
        print(f'{number}{WHAT[model.kind]} of {files.images} images in {out.resolve()}')
    report_unreadable(unreadable, files.images + len(unreadable))


def _check(args: argparse.Namespace) -> None:
    """Raise an error for flags that cannot be used, before the checkpoint is read."""
    from lomar.detection.tiles import check_tiles
    from lomar.prediction.result_files import NAMES
    from lomar.prediction.sources import check_names
    from lomar.utils import check_device, check_new

    paths = (Path(args.out, name) for name in NAMES)
    check_new('--out', *paths, overwrite=args.overwrite)
    check_names(args.images)
    if args.device:
        check_device(args.device)
    if args.overlap is not None:
        if args.tile is None:
            raise ValueError('--overlap belongs to tiles; allowed: with --tile')
        check_tiles(args.tile, args.overlap)


def _model(args: argparse.Namespace) -> Any:
    """Return the `Detector`, `Classifier` or `Segmentor` of the checkpoint."""
    from lomar import Classifier, Detector, Segmentor
    from lomar.checkpoints import trained_model

    trained = trained_model(args.checkpoint, args.weights, args.device)
    for flag, owner, instead in (
        ('threshold', 'detector', INSTEAD_OF_THRESHOLD),
        ('tile', 'detector', INSTEAD_OF_TILE),
        ('top_k', 'classifier', INSTEAD_OF_TOP_K),
    ):
        if getattr(args, flag) is not None and (advice := instead.get(trained.kind)):
            name = flag.replace('_', '-')
            raise ValueError(
                f'--{name} belongs to {owner}s; allowed for a {trained.kind}: {advice}'
            )
    # A pretraining is refused by the `Detector`.
    types = dict(classifier=Classifier, segmentor=Segmentor)
    return types.get(trained.kind, Detector)(trained, value_range=args.value_range)


def _steps(args: argparse.Namespace, model: Any) -> Steps:
    """Return the steps of a prediction of whole images."""
    result: Callable[[Any], Any]
    if model.kind == 'segmentor':
        result = model.segmentation
    elif model.kind == 'classifier':
        result = partial(model.best, top_k=args.top_k or TOP_K)
    else:
        result = partial(model.detections, threshold=_threshold(args))

    def predict(images: Sequence[Any]) -> list[Any]:
        return [result(found) for found in model.predict(images)]

    return Steps(model.load, predict, lambda found, image: found.draw(image), args.batch)


def _threshold(args: argparse.Namespace) -> float:
    """Return the smallest score of an object."""
    from lomar.detector import check_threshold

    threshold = THRESHOLD if args.threshold is None else args.threshold
    check_threshold(threshold)
    return threshold


def _tile_steps(args: argparse.Namespace, model: Any) -> Steps:
    """Return the steps of a prediction with a detector, tile by tile."""
    from tqdm import tqdm

    from lomar.large_images import detect_tiles

    load = partial(
        detect_tiles,
        model,
        tile=args.tile,
        overlap=args.overlap,
        threshold=_threshold(args),
        batch_size=args.batch,
        longest=None if args.no_pictures else LONGEST,
        progress=partial(tqdm, desc='tiles', unit='tile', leave=False),
    )
    return Steps(load, list, lambda found, image: found.draw(), 1)


def _batches(
    found: Iterable[Any], steps: Steps, unreadable: dict[str, str]
) -> Iterator[list[tuple[Any, 'Ready']]]:
    """Yield lists of images with what is loaded; leave out and record what cannot be loaded."""
    import cv2
    from torch import OutOfMemoryError

    from lomar.datasets.unreadable import IMAGE_ERRORS
    from lomar.prediction.items import forget

    batch: list[tuple[Any, Ready]] = []
    for item in found:
        try:
            batch.append((item, steps.load(item.image)))
        except OutOfMemoryError:
            raise
        # cv2: a side of no pixels; RuntimeError: of a model, which predicts tiles while they load
        except (*IMAGE_ERRORS, RuntimeError, cv2.error) as error:
            unreadable[item.source.name] = getattr(error, 'reason', str(error))
            forget(item)
        if len(batch) == steps.batch:
            yield batch
            batch = []
    if batch:
        yield batch


def _predicted(
    batch: Sequence[tuple[Any, 'Ready']], steps: Steps, unreadable: dict[str, str]
) -> Iterator[tuple[Any, 'Ready', Any]]:
    """Yield each image of a batch with its prediction; leave out what the model does not take."""
    from torch import OutOfMemoryError

    try:
        predictions = steps.predict([loaded for _, loaded in batch])
    except OutOfMemoryError:  # a matter of the batch size, not of an image
        raise
    except (ValueError, RuntimeError) as error:  # such as a map of less than one pixel
        if len(batch) == 1:
            unreadable[batch[0][0].source.name] = str(error)
        else:
            for one in batch:
                yield from _predicted([one], steps, unreadable)
        return
    for (item, loaded), prediction in zip(batch, predictions, strict=True):
        yield item, loaded, prediction
