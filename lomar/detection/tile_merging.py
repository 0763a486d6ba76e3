"""Merge the objects that a detector found in overlapping tiles of a large image.

The rule: objects of one class from two tiles are the same object if, within the part of the image
that both tiles show, their masks (their boxes, for a detector without masks) have an IoU of at
least `SAME`. A pair of higher IoU is joined first, and objects of one tile are never joined, since
the detector kept them apart. Thus an object that a border cuts, or one larger than a tile, is
compared where both tiles show it, and neighbours that touch stay two objects.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco
from torchvision.ops import box_iou

from lomar.detection.run_lengths import clipped, placed_rle, united
from lomar.detection.tiles import Place, shared_places

SAME = 0.5


@dataclass
class TileObjects:
    """The N objects of one tile, or of a whole image, in the coordinates of the image.

    Attributes:
        boxes: (N, 4) float32, [x1, y1, x2, y2] in pixels.
        scores: (N,) float32.
        labels: (N,) int64.
        masks: N masks as COCO's RLE in the size of the image; None without masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list[dict] | None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, chosen: Sequence[int] | np.ndarray) -> 'TileObjects':
        masks = None if self.masks is None else [self.masks[index] for index in chosen]
        return TileObjects(self.boxes[chosen], self.scores[chosen], self.labels[chosen], masks)


def shift_objects(
    place: Place,
    size: tuple[int, int],
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray | None,
) -> TileObjects:
    """Return the objects of a tile in the coordinates of the image.

    Args:
        place: the tile.
        size: height and width of the image.
        boxes, scores, labels, masks: as in `Detections`, in the coordinates of the tile.
    """
    top, left = place[:2]
    moved = (boxes + np.array([left, top, left, top], boxes.dtype)).reshape(-1, 4)
    runs = None if masks is None else [placed_rle(mask, top, left, *size) for mask in masks]
    return TileObjects(moved, scores, labels, runs)


def merge_tiles(places: Sequence[Place], found: Sequence[TileObjects]) -> TileObjects:
    """Return the objects of a whole image from those of its tiles, highest score first.

    Of detections that are one object, one is kept as it is: that of the highest score among the
    tiles that show the object whole, which is the rectangle around all boxes. If no tile does, the
    box is this rectangle, the mask is the union and the score is the highest.

    Args:
        places: the tiles, in the order of `tile_places`; at least one.
        found: the objects of each tile.
    """
    tiles = np.repeat(np.arange(len(found)), [len(one) for one in found])
    objects = _joined(found)
    kept = [
        _one(objects[group], [places[tiles[i]] for i in group]) for group in _groups(places, found)
    ]
    whole = _joined(kept) if kept else objects
    return whole[np.argsort(-whole.scores, kind='stable')]


def _joined(parts: Sequence[TileObjects]) -> TileObjects:
    boxes, scores, labels = (
        np.concatenate([getattr(part, key) for part in parts])
        for key in ('boxes', 'scores', 'labels')
    )
    masks = [mask for part in parts for mask in part.masks or ()]
    return TileObjects(boxes, scores, labels, None if parts[0].masks is None else masks)


def _groups(places: Sequence[Place], found: Sequence[TileObjects]) -> list[list[int]]:
    """Return the objects that are one, by their numbers over all tiles."""
    first = np.cumsum([0, *map(len, found)])
    pairs = [
        (iou, first[a] + i, first[b] + j)
        for a, b, shared in shared_places(places)
        for iou, i, j in same_objects(found[a], found[b], shared)
    ]
    tile_of = np.repeat(np.arange(len(found)), np.diff(first))
    group_of = {index: [index] for index in range(first[-1])}
    for _, one, other in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:])):
        mine, others = group_of[one], group_of[other]
        if not {tile_of[i] for i in mine} & {tile_of[i] for i in others}:
            mine += others
            group_of |= dict.fromkeys(others, mine)
    return [group for index, group in group_of.items() if group[0] == index]


def same_objects(
    first: TileObjects, second: TileObjects, shared: Place
) -> Iterator[tuple[float, int, int]]:
    """Yield the IoU and the indices of objects in two tiles that may be the same object.

    Args:
        shared: the part of the image that both tiles show.
    """
    top, left, height, width = shared
    window = np.array([left, top, left + width, top + height], np.float32)
    sides: list[Any] = []
    indices = []
    for objects in (first, second):
        low = np.maximum(objects.boxes[:, :2], window[:2])
        high = np.minimum(objects.boxes[:, 2:], window[2:])
        inside = np.flatnonzero((low < high).all(axis=1))
        indices.append(inside)
        if objects.masks is None:
            sides.append(np.concatenate([low, high], axis=1)[inside])
        else:
            sides.append(clipped([objects.masks[index] for index in inside], *shared))
    if not all(map(len, indices)):
        return
    if first.masks is None:
        iou = box_iou(*map(torch.from_numpy, sides)).numpy()
    else:
        iou = coco.iou(*sides, [False] * len(sides[1]))
    alike = first.labels[indices[0]][:, None] == second.labels[indices[1]]
    for i, j in np.argwhere(alike & (iou >= SAME)):
        yield float(iou[i, j]), int(indices[0][i]), int(indices[1][j])


def _one(group: TileObjects, places: Sequence[Place]) -> TileObjects:
    """Return the one object of a group, see `merge_tiles`."""
    low, high = group.boxes[:, :2].min(axis=0), group.boxes[:, 2:].max(axis=0)
    whole = [
        index
        for index, (top, left, height, width) in enumerate(places)
        if (low >= (left, top)).all() and (high <= (left + width, top + height)).all()
    ]
    if whole:
        return group[[max(whole, key=lambda index: group.scores[index])]]
    masks = None if group.masks is None else [united(group.masks)]
    box = np.concatenate([low, high])[None]
    return TileObjects(box, group.scores.max(keepdims=True), group.labels[:1], masks)
