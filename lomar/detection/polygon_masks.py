"""Instance masks as polygons, which are rasterised once, in the targets of the mask head."""

import numpy as np
import torch
from mmcv.image import rescale_size
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from pycocotools import mask as rle
from torch import Tensor

LEAST = 0.1  # pixels; detectron2 clamps shorter sides of a box to this length


class Polygons(PolygonMasks):
    """mmdet's PolygonMasks with detectron2's targets and exact crops.

    All points of an image are stored in one array, which flips, resizes and crops transform. A ring
    is one closed outline; an instance has one or more rings. Self-intersecting rings are filled by
    the even-odd rule, as in pycocotools.

    Args:
        masks: list of rings per instance; a ring is [x, y, x, y, ...] with at least three points.
    """

    def __init__(self, masks: list[list[np.ndarray]], height: int, width: int):
        rings = [np.asarray(ring, np.float64).reshape(-1, 2) for one in masks for ring in one]
        owners = np.repeat(np.arange(len(masks)), np.array([len(one) for one in masks], int))
        boxes = [np.stack([ring.min(axis=0), ring.max(axis=0)]) for ring in rings]
        self.height, self.width = height, width
        self._fill(len(masks), rings, owners, boxes)

    def _fill(self, count, rings, owners, boxes) -> 'Polygons':
        """Store `rings` (N, 2), the instance index of each ring (`owners`) and its box (2, 2)."""
        self._count = count
        self._points = np.concatenate([*rings, np.empty((0, 2))])
        self._ends = np.cumsum([len(ring) for ring in rings], dtype=np.int64)
        self._owners = np.asarray(owners, np.int64)
        self._boxes = np.array(boxes, np.float64).reshape(-1, 2, 2)
        return self

    @property
    def masks(self) -> list[list[np.ndarray]]:
        """Return rings per instance; an empty instance has one ring of zeros."""
        masks: list[list[np.ndarray]] = [[] for _ in range(len(self))]
        for owner, ring in zip(self._owners, self._rings(), strict=True):
            masks[owner].append(ring.ravel())
        return [one or [np.zeros(6)] for one in masks]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int | slice | list[int] | np.ndarray) -> 'Polygons':
        chosen = np.arange(len(self))[index].reshape(-1)
        places_of = [np.flatnonzero(self._owners == instance) for instance in chosen]
        owners = np.repeat(np.arange(len(chosen)), np.array([len(own) for own in places_of], int))
        places = np.concatenate([*places_of, np.empty(0, np.int64)])
        rings, boxes = self._rings(), self._boxes[places]
        return self._new(len(chosen), [rings[i] for i in places], owners, boxes)

    def rescale(self, scale: float | tuple[int, int], interpolation: str = 'nearest') -> 'Polygons':
        """Scale to the largest size within `scale`, keeping the aspect ratio."""
        width, height = rescale_size((self.width, self.height), scale)
        return self.resize((height, width))

    def resize(self, out_shape: tuple[int, int], interpolation: str = 'nearest') -> 'Polygons':
        """Scale to (height, width)."""
        height, width = out_shape
        return self._moved((width / self.width, height / self.height), (0, 0), height, width)

    def flip(self, flip_direction: str = 'horizontal') -> 'Polygons':
        """Flip horizontally, vertically, or in both directions ('diagonal')."""
        assert flip_direction in ('horizontal', 'vertical', 'diagonal')
        scale, offset = [1, 1], [0, 0]
        if flip_direction != 'vertical':
            scale[0], offset[0] = -1, self.width
        if flip_direction != 'horizontal':
            scale[1], offset[1] = -1, self.height
        return self._moved(scale, offset, self.height, self.width)

    def crop(self, bbox: np.ndarray) -> 'Polygons':
        """Crop to the box [x1, y1, x2, y2], clipped to the image; drop rings outside the box."""
        x1, x2 = np.clip(bbox[0::2], 0, self.width)
        y1, y2 = np.clip(bbox[1::2], 0, self.height)
        size = int(max(x2 - x1, 1)), int(max(y2 - y1, 1))
        moved = self._moved((1, 1), (-x1, -y1), size[1], size[0])
        low, high = moved._boxes[:, 0], moved._boxes[:, 1]
        within = np.all(low >= 0, axis=1) & np.all(high <= size, axis=1)
        if within.all():
            return moved
        kept, rings, boxes = [], moved._rings(), moved._boxes
        for place in np.flatnonzero((high > 0).all(axis=1) & (low < size).all(axis=1)):
            if not within[place]:
                rings[place] = clip_ring(rings[place], size)
                boxes[place] = ring_box(rings[place], size)
            if (boxes[place, 0] < boxes[place, 1]).all():
                kept.append(place)
        return moved._new(len(self), [rings[i] for i in kept], self._owners[kept], boxes[kept])

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> 'Polygons':
        """Pad to (height, width) at the bottom and on the right."""
        return self._moved((1, 1), (0, 0), *out_shape)

    def get_bboxes(self, dst_type: str | type = 'hbox') -> BaseBoxes:
        """Return float boxes around the rings of each instance; zeros for empty instances."""
        low, high = np.full((len(self), 2), np.inf), np.full((len(self), 2), -np.inf)
        np.minimum.at(low, self._owners, self._boxes[:, 0])
        np.maximum.at(high, self._owners, self._boxes[:, 1])
        boxes = np.concatenate([low, high], axis=1)
        boxes[np.isinf(low[:, 0])] = 0
        return HorizontalBoxes(boxes.astype(np.float32)).convert_to(dst_type)

    def crop_and_resize(
        self,
        bboxes: np.ndarray | Tensor,
        out_shape: tuple[int, int],
        inds: np.ndarray | Tensor,
        device: str | torch.device = 'cpu',
        interpolation: str = 'bilinear',
        binarize: bool = True,
    ) -> BitmapMasks:
        """Return a target of `out_shape` for each box (P, 4) and its instance in `inds` (P,)."""
        if not binarize:
            raise ValueError(
                'train_cfg.rcnn.soft_mask_target is True; allowed for polygons: False, or '
                'LoadAnnotations in place of LoadInstances'
            )
        rings = self._rings()
        rings_of = [[rings[i] for i in np.flatnonzero(self._owners == n)] for n in range(len(self))]
        bboxes, inds = torch.as_tensor(bboxes).cpu().numpy(), torch.as_tensor(inds).cpu().numpy()
        targets = [
            rasterise(rings_of[instance], box, out_shape)
            for instance, box in zip(inds, bboxes, strict=True)
        ]
        return BitmapMasks(targets, *out_shape)

    def _rings(self) -> list[np.ndarray]:
        return np.split(self._points, self._ends[:-1]) if len(self._ends) else []

    def _new(self, count, rings, owners, boxes) -> 'Polygons':
        return Polygons([], self.height, self.width)._fill(count, rings, owners, boxes)

    def _moved(self, scale, offset, height: int, width: int) -> 'Polygons':
        """Return points * `scale` + `offset`, both (x, y), in an image of the given size."""
        moved = Polygons.__new__(Polygons)
        moved.__dict__.update(vars(self), height=height, width=width)
        moved._points = self._points * scale + offset
        moved._boxes = np.sort(self._boxes * scale + offset, axis=1)
        return moved


def rasterise(rings: list[np.ndarray], box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Rasterise the part of rings (N, 2) in a box [x1, y1, x2, y2], scaled to `shape`."""
    if not rings:
        return np.zeros(shape, bool)
    height, width = shape
    scale = width / max(box[2] - box[0], LEAST), height / max(box[3] - box[1], LEAST)
    polygons = [((ring - box[:2]) * scale).ravel() for ring in rings]
    return rle.decode(rle.merge(rle.frPyObjects(polygons, height, width))).astype(bool)


def clip_ring(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Clip a ring (N, 2) to 0 <= x <= width, 0 <= y <= height by the Sutherland-Hodgman algorithm.

    Parts that the border separates stay one ring: edges along the border connect the parts in both
    directions and enclose no area.
    """
    for axis in (0, 1):
        for limit, sign in ((0, 1), (size[axis], -1)):
            depth = sign * (ring[:, axis] - limit)
            inside = depth > 0
            if inside.all():
                continue
            cut = inside != np.roll(inside, -1)  # the edge to the next point crosses the line
            share = depth[cut] / (depth - np.roll(depth, -1))[cut]
            points = ring[cut] + share[:, None] * (np.roll(ring, -1, axis=0) - ring)[cut]
            points[:, axis] = limit
            order = np.argsort(np.concatenate([np.flatnonzero(inside), np.flatnonzero(cut) + 0.5]))
            ring = np.concatenate([ring[inside], points])[order]
    return ring


def ring_box(ring: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the box [[x1, y1], [x2, y2]] of the area of a clipped ring (N, 2); zeros if empty.

    Connecting edges from `clip_ring`, which enclose no area, do not extend the box.
    """
    edges = np.stack([ring, np.roll(ring, -1, axis=0)], axis=1)
    inner = np.ones(len(ring), bool)
    found: list[np.ndarray] = [np.empty((0, 2))]
    for axis in (0, 1):
        for limit in (0, size[axis]):
            along = (edges[:, :, axis] == limit).all(axis=1)
            inner &= ~along
            # Sorted endpoints form pairs. Between the two of a pair the number of edges is odd.
            pairs = np.sort(edges[along][:, :, 1 - axis].ravel()).reshape(-1, 2)
            ends = pairs[pairs[:, 0] < pairs[:, 1]].ravel()
            covered = np.stack([np.full(len(ends), limit), ends], axis=1)
            found.append(covered if axis == 0 else covered[:, ::-1])
    points = np.concatenate([edges[inner].reshape(-1, 2), *found])
    return np.stack([points.min(axis=0), points.max(axis=0)]) if len(points) else np.zeros((2, 2))
