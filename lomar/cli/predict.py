"""Predict objects or classes of images and videos, from a checkpoint alone.

DIR gets predictions.json (a list in COCO's results format), images.json (ids, paths, sizes and
categories), predictions.csv and, for detectors, a picture per image in DIR/pictures.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lomar.cli.shared import add_overwrite, add_value_range, count, report_unreadable

if TYPE_CHECKING:
    from lomar.image_model import Loaded

THRESHOLD, TOP_K = 0.3, 5


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
    add('--batch', type=count, default=1, metavar='N', help='images per forward pass')
    add('--weights', choices=('plain', 'ema'), default='plain', help='weights of the checkpoint')
    add('--no-pictures', action='store_true', help='write no pictures')
    add_value_range(parser)
    add_overwrite(parser)
    add('--device', help='PyTorch device (default: a GPU if there is one)')


class Steps(NamedTuple):
    """The two steps of a prediction.

    Attributes:
        load: returns an image, a path or pixels, ready for the model, and its size; an image that
            the model does not support raises a ValueError, a damaged one an `UnreadableImage`.
        predict: returns the `Detections` or `Classes` of a batch of loaded images.
    """

    load: Callable[[Any], 'Loaded']
    predict: Callable[[Sequence['Loaded']], list]


def run(args: argparse.Namespace) -> None:
    """Predict image by image and write the results of each."""
    from contextlib import ExitStack, closing
    from tempfile import TemporaryDirectory

    from tqdm import tqdm

    from lomar.prediction import Pictures, ResultFiles, find_sources, items
    from lomar.prediction.items import forget
    from lomar.prediction.result_files import NAMES
    from lomar.prediction.sources import check_names
    from lomar.utils import check_device, check_new

    out = Path(args.out)
    check_new('--out', *(out / name for name in NAMES), overwrite=args.overwrite)
    check_names(args.images)
    if args.device:
        check_device(args.device)
    model = _model(args)
    steps = _steps(args, model)
    sources, common = find_sources(args.images, model.reads_arrays)
    unreadable: dict[str, str] = {}
    with ExitStack() as stack:
        pictures = None
        if model.trained.kind == 'detector' and not args.no_pictures:
            pictures = stack.enter_context(closing(Pictures(out / 'pictures', sources, common)))
        files = stack.enter_context(ResultFiles(out, model.trained, common))
        folder = stack.enter_context(TemporaryDirectory())
        found = items(sources, folder, unreadable)
        total = None if any(source.is_video for source in sources) else len(sources)
        bar = stack.enter_context(tqdm(total=total, desc='predicting', unit='img'))
        for batch in _batches(found, steps, args.batch, unreadable):
            predictions = steps.predict([loaded for _, loaded in batch])
            for (item, loaded), prediction in zip(batch, predictions, strict=True):
                files.add(item, loaded.height, loaded.width, prediction)
                if pictures is not None:
                    pictures.add(item, prediction.draw(item.image))
                forget(item)
            bar.update(len(batch))
    if files.images:
        what = 'objects' if model.trained.kind == 'detector' else 'classes'
        print(f'{files.predictions} {what} of {files.images} images in {out.resolve()}')
    report_unreadable(unreadable, files.images + len(unreadable))


def _model(args: argparse.Namespace) -> Any:
    """Return the `Detector` or `Classifier` of the checkpoint."""
    from lomar import Classifier, Detector
    from lomar.checkpoints import trained_model

    trained = trained_model(args.checkpoint, args.weights, args.device)
    detects = trained.kind != 'classifier'  # a pretraining is refused by the `Detector`
    if args.threshold is not None and not detects:
        raise ValueError('--threshold belongs to detectors; allowed for a classifier: --top-k')
    if args.top_k is not None and detects:
        raise ValueError('--top-k belongs to classifiers; allowed for a detector: --threshold')
    return (Detector if detects else Classifier)(trained, value_range=args.value_range)


def _steps(args: argparse.Namespace, model: Any) -> Steps:
    """Return the steps of a prediction: with a detector, or with a classifier."""
    from lomar.detector import check_threshold

    if model.trained.kind == 'classifier':
        top_k = args.top_k or TOP_K
        return Steps(
            model.load, lambda samples: [model.best(one, top_k) for one in model.predict(samples)]
        )
    threshold = THRESHOLD if args.threshold is None else args.threshold
    check_threshold(threshold)
    return Steps(
        model.load,
        lambda samples: [model.detections(one, threshold) for one in model.predict(samples)],
    )


def _batches(
    found: Iterable[Any], steps: Steps, size: int, unreadable: dict[str, str]
) -> Iterator[list[tuple[Any, 'Loaded']]]:
    """Yield lists of images with what is loaded; leave out and record what cannot be loaded."""
    from lomar.datasets import UnreadableImage
    from lomar.prediction.items import forget

    batch: list[tuple[Any, Loaded]] = []
    for item in found:
        try:
            batch.append((item, steps.load(item.image)))
        except (UnreadableImage, ValueError) as error:
            unreadable[item.source.name] = getattr(error, 'reason', str(error))
            forget(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
