"""Files with predictions, written image by image, so that memory does not grow."""

import csv
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TextIO

from lomar.checkpoints.trained_model import TrainedModel
from lomar.classifier import Classes
from lomar.detection import encode
from lomar.detections import Detections
from lomar.large_images import LargeDetections
from lomar.prediction.items import Item
from lomar.segmentor import Segmentation
from lomar.utils import atomic_write

NAMES = ('predictions.json', 'images.json', 'predictions.csv')
Found = Detections | LargeDetections | Classes | Segmentation
BOX_COLUMNS = ('image_id', 'file_name', 'category_id', 'name', 'score', 'x1', 'y1', 'x2', 'y2')
CLASS_COLUMNS = ('image_id', 'file_name', 'rank', 'category_id', 'name', 'score')
AREA_COLUMNS = ('image_id', 'file_name', 'category_id', 'name', 'pixels', 'share')


class ResultFiles:
    """Context manager for `predictions.json`, `images.json` and `predictions.csv` of one run.

    The id of a category is the label of the model plus 1; for a segmentor it is the label, the id
    in the masks. The files are whole after an error, too, with the images up to there. Without any
    image, there are no files.

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
        self._first = 0 if trained.kind == 'segmentor' else 1
        self._labels = len(trained.classes)  # at least: a checkpoint may lack names
        self._stack = ExitStack()

    def __enter__(self) -> 'ResultFiles':
        return self

    def __exit__(self, *error) -> None:
        if self.images:
            names = [self.trained.name(label) for label in range(self._labels)]
            found = [dict(id=i, name=name) for i, name in enumerate(names, self._first)]
            categories = json.dumps(found)
            self._predicted.end(']\n')
            self._listed.end(f'],\n"annotations":[],\n"categories":{categories}}}\n')
        self._stack.close()  # which replaces earlier files

    def add(
        self, item: Item, height: int, width: int, found: Found, mask: str | None = None
    ) -> None:
        """Write an image and its predictions; `mask` is the path of the mask of a segmentor."""
        columns, read = _FORMS.get(type(found), (BOX_COLUMNS, _boxes))
        if not self.images:
            self._open(columns)
        self.images += 1
        entry = dict(id=self.images, file_name=item.title, width=width, height=height)
        self._listed.add(entry | ({} if mask is None else dict(mask=mask)))
        rows = read(found)
        for label, cells, values in rows:
            self._labels = max(self._labels, label + 1)
            keys = dict(image_id=self.images, category_id=label + self._first)
            self._predicted.add(keys | values)
            own = dict(keys, file_name=item.title, name=self.trained.name(label))
            self._table.writerow(own | cells)
        self.predictions += len(rows)

    def _open(self, columns: Sequence[str]) -> None:
        predictions, images, table = (self._file(name) for name in NAMES)
        self._predicted = _JsonList(predictions, '[')
        head = json.dumps(dict(folder=self.common))
        self._listed = _JsonList(images, f'{{"info":{head},\n"images":[')
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


Row = tuple[int, dict, dict]  # label, cells of the table, values of the results


def _boxes(found: Detections | LargeDetections) -> list[Row]:
    """Return a row per object; the values are in COCO's result format."""
    if isinstance(found, LargeDetections):
        encoded = found.rles
    else:
        encoded = None if found.masks is None else encode(found.masks)
    masks: Sequence[Any] = [None] * len(found) if encoded is None else encoded
    rows = []
    for label, (x1, y1, x2, y2), score, mask in zip(
        found.labels.tolist(),
        found.boxes.astype(float).tolist(),
        found.scores.tolist(),
        masks,
        strict=True,
    ):
        values = dict(score=score, bbox=[x1, y1, x2 - x1, y2 - y1])
        values |= {} if mask is None else dict(segmentation=mask)
        rows.append((label, dict(score=score, x1=x1, y1=y1, x2=x2, y2=y2), values))
    return rows


def _ranks(found: Classes) -> list[Row]:
    """Return a row per class, the best one first."""
    pairs = zip(found.labels.tolist(), found.scores.tolist(), strict=True)
    return [
        (label, dict(rank=rank, score=one), dict(score=one))
        for rank, (label, one) in enumerate(pairs, 1)
    ]


def _areas(found: Segmentation) -> list[Row]:
    """Return a row per class that has pixels."""
    pixels = found.pixels().tolist()
    areas = [dict(pixels=count, share=count / found.ids.size) for count in pixels]
    return [(label, area, area) for label, area in enumerate(areas) if area['pixels']]


_FORMS: dict[type, tuple[tuple[str, ...], Callable[[Any], list[Row]]]] = {
    Classes: (CLASS_COLUMNS, _ranks),
    Segmentation: (AREA_COLUMNS, _areas),
}
