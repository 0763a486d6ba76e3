"""Instance masks as bitmaps whose transforms are evaluated lazily; run-length encoding."""

import numpy as np
import torch
from mmcv.image import imresize, rescale_size
from mmcv.ops import roi_align
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from torch import Tensor

from lomar.detection.run_lengths import placed_rle

REACH = 2  # pixels around a box that RoIAlign may read: 1 for interpolation, 1 for rounding


class LazyMasks(BitmapMasks):
    """mmdet's BitmapMasks whose flips, scalings and crops are evaluated lazily.

    Each transform selects whole rows and columns. Two index lists therefore store any sequence of
    transforms. Pixels, boxes and targets equal those of BitmapMasks.
    """

    @property
    def masks(self) -> np.ndarray:
        """Return bitmaps (N, height, width), after evaluation of pending transforms."""
        if self._waiting:
            whole = np.zeros((len(self), self.height, self.width), self._source.dtype)
            inside = self._source.take(self._rows, axis=1).take(self._columns, axis=2)
            whole[:, : inside.shape[1], : inside.shape[2]] = inside
            self.masks = whole
        return self._source

    @masks.setter
    def masks(self, bitmaps: np.ndarray) -> None:
        self._source, self._waiting = bitmaps, False
        self._rows, self._columns = map(np.arange, bitmaps.shape[1:])

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int | np.ndarray) -> 'LazyMasks':
        source = self._source[index].reshape(-1, *self._source.shape[1:])
        return self._made(source, self._rows, self._columns, self.height, self.width)

    def rescale(self, scale: float | tuple[int, int], interpolation: str = 'nearest'):
        """Scale to the largest size within `scale`, keeping the aspect ratio."""
        width, height = rescale_size((self.width, self.height), scale)
        return self.resize((height, width), interpolation)

    def resize(self, out_shape: tuple[int, int], interpolation: str = 'nearest') -> BitmapMasks:
        """Scale to (height, width)."""
        if interpolation != 'nearest':
            return super().resize(out_shape, interpolation)
        rows, columns = self._places()
        rows = rows[_nearest(len(rows), out_shape[0])]
        columns = columns[_nearest(len(columns), out_shape[1])]
        made = self._made(self._source, rows, columns, *out_shape)
        if len(rows) * len(columns) < self._source[:1].size:
            _ = made.masks  # from here on there is less to keep, and to send to another process
        return made

    def flip(self, flip_direction: str = 'horizontal') -> 'LazyMasks':
        """Flip horizontally, vertically, or in both directions ('diagonal')."""
        assert flip_direction in ('horizontal', 'vertical', 'diagonal')
        rows, columns = self._places()
        if flip_direction != 'horizontal':
            rows = rows[::-1]
        if flip_direction != 'vertical':
            columns = columns[::-1]
        return self._made(self._source, rows, columns, self.height, self.width)

    def crop(self, bbox: np.ndarray) -> 'LazyMasks':
        """Crop to the integer box [x1, y1, x2, y2], clipped to the image."""
        x1, x2 = np.clip(bbox[0::2], 0, self.width)
        y1, y2 = np.clip(bbox[1::2], 0, self.height)
        rows, columns = self._places()
        rows, columns = rows[y1 : max(y2, y1 + 1)], columns[x1 : max(x2, x1 + 1)]
        top, left = rows.min(), columns.min()
        source = self._source[:, top : rows.max() + 1, left : columns.max() + 1]
        return self._made(source, rows - top, columns - left, len(rows), len(columns))

    def pad(self, out_shape: tuple[int, int], pad_val: int = 0) -> BitmapMasks:
        """Pad to (height, width) at the bottom and on the right."""
        if pad_val or out_shape[0] < self.height or out_shape[1] < self.width:
            return super().pad(out_shape, pad_val)
        return self._made(self._source, self._rows, self._columns, *out_shape)

    def get_bboxes(self, dst_type: str | type = 'hbox') -> BaseBoxes:
        """Return boxes around the pixels of each mask; zeros for empty masks."""
        rows, columns = _used(self._rows), _used(self._columns)
        left, right = _ends(np.any(self._source[:, rows], axis=1)[:, self._columns])
        top, bottom = _ends(np.any(self._source[:, :, columns], axis=2)[:, self._rows])
        boxes = np.stack([left, top, right, bottom], axis=-1).astype(np.float32)
        return HorizontalBoxes(boxes).convert_to(dst_type)

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
        if not len(self) or not len(bboxes):
            return super().crop_and_resize(bboxes, out_shape, inds, device, interpolation, binarize)
        bboxes = torch.as_tensor(bboxes)
        used, places = np.unique(torch.as_tensor(inds).cpu().numpy(), return_inverse=True)
        # Each instance is copied once, not once for each of its boxes, and only the part that is
        # read: memory of zeros costs nothing before it is touched. uint8 needs a quarter of the
        # transfer to a GPU.
        dtype = np.float32 if torch.device(device).type == 'cpu' else np.uint8
        bitmaps = np.zeros((len(used), self.height, self.width), dtype)
        corners = bboxes.cpu().numpy()
        for place, instance in enumerate(used):
            own = corners[places == place]
            (x1, y1), (x2, y2) = own[:, :2].min(axis=0), own[:, 2:].max(axis=0)
            rows, columns = _range(y1, y2, len(self._rows)), _range(x1, x2, len(self._columns))
            part = self._source[instance].take(self._rows[rows], axis=0)
            bitmaps[place, rows, columns] = part.take(self._columns[columns], axis=1)
        rois = torch.cat([torch.from_numpy(places)[:, None].to(bboxes), bboxes], dim=1).to(device)
        features = torch.from_numpy(bitmaps).to(device).to(rois.dtype)[:, None]
        targets = roi_align(features, rois, out_shape, 1.0, 0, 'avg', True).squeeze(1)
        targets = targets >= 0.5 if binarize else targets
        return BitmapMasks(targets.cpu().numpy(), *out_shape)

    def _made(self, source, rows, columns, height, width) -> 'LazyMasks':
        made = LazyMasks([], height, width)
        made._source, made._rows, made._columns, made._waiting = source, rows, columns, True
        return made

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        """Return indices of all rows and columns; pending padding is evaluated before."""
        if (len(self._rows), len(self._columns)) != (self.height, self.width):
            _ = self.masks
        return self._rows, self._columns


def encode(masks: np.ndarray) -> list[dict]:
    """Return COCO's RLE of bool or uint8 masks (N, H, W), with `counts` as text.

    The result equals pycocotools' `encode`. Only columns that are not empty are processed.
    """
    return [placed_rle(np.asarray(mask, dtype=bool), 0, 0, *mask.shape) for mask in masks]


def _nearest(source: int, target: int) -> np.ndarray:
    """Return the source index of each target pixel in OpenCV's nearest interpolation."""
    places = np.arange(source, dtype=np.float32)[None]
    return imresize(places, (target, 1), interpolation='nearest')[0].astype(np.int64)


def _used(places: np.ndarray) -> np.ndarray | slice:
    """Return the distinct indices; as a slice, which avoids a copy, if they have no gap."""
    used = np.unique(places)
    return slice(used[0], used[-1] + 1) if used[-1] - used[0] < len(used) else used


def _ends(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and one past the last True of each row (N, L); zeros if a row has none."""
    last = seen.shape[1] - seen[:, ::-1].argmax(axis=1)
    return seen.argmax(axis=1), np.where(seen.any(axis=1), last, 0)


def _range(low: float, high: float, length: int) -> slice:
    return slice(max(int(low) - REACH, 0), min(int(high) + REACH + 1, length))
