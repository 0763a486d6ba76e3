"""Compare the AP of a detector in whole images with that in tiles of these images."""

import argparse
import contextlib
import io
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import lomar
from lomar.detection import encode
from lomar.provenance import provenance
from lomar.utils import write_json

PROG = 'python -m benchmarks.tiles'
LIMIT = 2000  # objects per image that count; COCO's 100 are too few for large images


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add('checkpoint', help='checkpoint of a detector with masks')
    add('annotations', help='COCO file with masks')
    add('images', type=Path, help='folder of the images')
    add('--least-side', type=int, default=500, help='least height in pixels of a measured image')
    add('--num-images', type=int, default=9, help='number of images, the first in the file')
    add('--tile', type=int, default=256, help='side of a tile in pixels')
    add('--overlaps', type=int, nargs='+', default=[64, 32, 0], help='overlaps in pixels')
    add('--threshold', type=float, default=0.05, help='smallest score of an object')
    add('--json', type=Path, metavar='FILE', help='file to write results to')
    args = parser.parse_args(argv)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints progress
        truth = COCO(args.annotations)
    large = [one for one in truth.dataset['images'] if one['height'] >= args.least_side]
    large = large[: args.num_images]
    detector = lomar.Detector(args.checkpoint)
    records = []
    for way, settings in [
        ('whole', {}),
        *(('tiles', dict(tile=args.tile, overlap=one)) for one in args.overlaps),
    ]:
        start = process_time()
        results = list(detect(detector, truth, large, args.images, args.threshold, settings))
        seconds = (process_time() - start) / len(large)
        record = dict(way=way, **settings, objects=len(results), seconds_per_image=seconds)
        record |= average_precision(truth, results, [one['id'] for one in large])
        records.append(record)
        print(record)
    if args.json:
        objects = len(truth.getAnnIds(imgIds=[one['id'] for one in large]))
        command = f'{PROG} {shlex.join(sys.argv[1:] if argv is None else argv)}'
        data = dict(images=len(large), objects=objects)
        write_json(args.json, dict(command=command, **provenance(), data=data, records=records))


def detect(
    detector: lomar.Detector,
    truth: COCO,
    images: list[dict],
    folder: Path,
    threshold: float,
    settings: dict,
) -> Iterator[dict]:
    """Yield the objects of images in COCO's result format.

    Args:
        settings: tile and overlap in pixels; {} = whole images.
    """
    ids = {category['name']: key for key, category in truth.cats.items()}
    for image in images:
        path = folder / image['file_name']
        if settings:
            found: Any = lomar.detect_tiles(detector, path, threshold=threshold, **settings)
            masks = found.rles
        else:
            (found,) = detector([path], threshold)
            masks = encode(found.masks)
        boxes, scores = found.boxes.astype(float).tolist(), found.scores.astype(float).tolist()
        for (x1, y1, x2, y2), score, name, mask in zip(
            boxes, scores, found.names, masks, strict=True
        ):
            box = [x1, y1, x2 - x1, y2 - y1]
            where = dict(image_id=image['id'], category_id=ids[name])
            yield dict(where, bbox=box, score=score, segmentation=mask)


def average_precision(truth: COCO, results: list[dict], images: list[int]) -> dict[str, float]:
    """Return AP and AP50 in percent, of boxes and of masks; 0 without results."""
    found = {}
    for kind, name in (('bbox', 'box'), ('segm', 'mask')):
        with contextlib.redirect_stdout(io.StringIO()):
            measured = COCOeval(truth, truth.loadRes(results), kind) if results else None
            if measured:
                measured.params.imgIds, measured.params.maxDets = images, [LIMIT]
                measured.evaluate()
                measured.accumulate()
        # (IoU, recall, class, area, limit): all areas; -1 where a class has no objects.
        precision = measured.eval['precision'][:, :, :, 0, 0] if measured else None
        for key, chosen in ((f'{name}_ap', slice(None)), (f'{name}_ap50', slice(1))):
            values = None if precision is None else precision[chosen]
            found[key] = 0.0 if values is None else float(values[values > -1].mean() * 100)
    return found


if __name__ == '__main__':
    main()
