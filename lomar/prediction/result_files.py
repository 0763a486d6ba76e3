"""Files with predictions, written image by image, so that memory does not grow."""

import csv
import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from lomar.checkpoints.trained_model import TrainedModel
from lomar.classifier import Classes
from lomar.detection import encode
from lomar.detections import Detections
from lomar.large_images import LargeDetections
from lomar.prediction.items import Item
from lomar.utils import atomic_write

NAMES = ('predictions.json', 'images.json', 'predictions.csv')
Found = Detections | LargeDetections | Classes
BOX_COLUMNS = ('image_id', 'file_name', 'category_id', 'name', 'score', 'x1', 'y1', 'x2', 'y2')
CLASS_COLUMNS = ('image_id', 'file_name', 'rank', 'category_id', 'name', 'score')


class ResultFiles:
    """Context manager for `predictions.json`, `images.json` and `predictions.csv` of one run.

    The id of a category is the label of the model plus 1. The files are whole after an error, too,
    with the images up to there. Without any image, there are no files.

    Args:
        folder: made if need be.
        trained: the model, which names the categories.
        common: folder to which the titles of images are relative.

    Attributes:
        images, predictions: how many were written.
    """

    def __init__(self, folder: str | Path, trained: TrainedModel, common: str):
        self.folder, self.trained, self.common = Path(folder), trained, common
        self.images = self.predictions = 0
        self._labels = len(trained.classes)  # at least: a checkpoint may lack names
        self._stack = ExitStack()

    def __enter__(self) -> 'ResultFiles':
        return self

    def __exit__(self, *error) -> None:
        if self.images:
            names = [self.trained.name(label) for label in range(self._labels)]
            categories = json.dumps([dict(id=i, name=name) for i, name in enumerate(names, 1)])
            self._predicted.end(']\n')
            self._listed.end(f'],\n"annotations":[],\n"categories":{categories}}}\n')
        self._stack.close()  # which replaces earlier files

    def add(self, item: Item, height: int, width: int, found: Found) -> None:
        """Write an image and its predictions."""
        if not self.images:
            self._open(not isinstance(found, Classes))
        self.images += 1
        entry = dict(id=self.images, file_name=item.title, width=width, height=height)
        self._listed.add(entry)
        labels = found.labels.tolist()
        self._labels = max(self._labels, *(label + 1 for label in labels), 0)
        rows = _ranks(found) if isinstance(found, Classes) else _boxes(found)
        for label, name, (cells, values) in zip(labels, found.names, rows, strict=True):
            self._predicted.add(dict(image_id=self.images, category_id=label + 1, **values))
            own = dict(image_id=self.images, file_name=item.title, category_id=label + 1, name=name)
            self._table.writerow(own | cells)
        self.predictions += len(labels)

    def _open(self, boxes: bool) -> None:
        predictions, images, table = (self._file(name) for name in NAMES)
        self._predicted = _JsonList(predictions, '[')
        head = json.dumps(dict(folder=self.common))
        self._listed = _JsonList(images, f'{{"info":{head},\n"images":[')
        columns = BOX_COLUMNS if boxes else CLASS_COLUMNS
        self._table = csv.DictWriter(table, columns, lineterminator='\n')
        self._table.writeheader()

    def _file(self, name: str) -> TextIO:
        part = self._stack.enter_context(atomic_write(self.folder / name))
        return self._stack.enter_context(
            # Names of files may be in any encoding.
            open(part, 'w', encoding='utf-8', errors='surrogateescape', newline='')
        )


class _JsonList:
    """List in a JSON file, with an entry per line."""

    def __init__(self, file: TextIO, head: str):
        self.file, self.separator = file, '\n'
        file.write(head)

    def add(self, entry: dict) -> None:
        self.file.write(self.separator + json.dumps(entry, separators=(',', ':')))
        self.separator = ',\n'

    def end(self, tail: str) -> None:
        self.file.write('\n' + tail)


def _boxes(found: Detections | LargeDetections) -> list[tuple[dict, dict]]:
    """Return the cells of the table, and the values in COCO's result format, of each object."""
    if isinstance(found, LargeDetections):
        encoded = found.rles
    else:
        encoded = None if found.masks is None else encode(found.masks)
    masks: Sequence[Any] = [None] * len(found) if encoded is None else encoded
    rows = []
    for (x1, y1, x2, y2), score, mask in zip(
        found.boxes.astype(float).tolist(), found.scores.tolist(), masks, strict=True
    ):
        values = dict(score=score, bbox=[x1, y1, x2 - x1, y2 - y1])
        values |= {} if mask is None else dict(segmentation=mask)
        rows.append((dict(score=score, x1=x1, y1=y1, x2=x2, y2=y2), values))
    return rows


def _ranks(found: Classes) -> list[tuple[dict, dict]]:
    """Return the cells of the table, and the values of the results, of each class."""
    scores = found.scores.tolist()
    return [(dict(rank=rank, score=one), dict(score=one)) for rank, one in enumerate(scores, 1)]
