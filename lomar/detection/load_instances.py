"""Loading of instance masks: polygons are kept as polygons, RLE masks become bitmaps."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from mmdet.datasets.transforms import LoadAnnotations
from mmdet.structures.bbox import BaseBoxes, HorizontalBoxes
from mmdet.structures.mask import BaseInstanceMasks, BitmapMasks
from mmengine.registry import TRANSFORMS
from torch import Tensor

from lomar.datasets.readable import check_stated_size
from lomar.detection.lazy_masks import LazyMasks
from lomar.detection.polygon_masks import Polygons


def _of_each_kind(name: str) -> Callable:
    """Return a method of `MixedMasks` that calls the method `name` of the masks of each kind."""

    def method(self: 'MixedMasks', *args, **kwargs) -> 'MixedMasks':
        polygons, bitmaps = (
            getattr(m, name)(*args, **kwargs) for m in (self.polygons, self.bitmaps)
        )
        return MixedMasks(polygons, bitmaps, self.is_bitmap)

    return method


class MixedMasks(BitmapMasks):
    """Masks of one image, some as polygons and some as bitmaps.

    Flips, resizes, crops and targets are computed for each kind separately. All other operations
    are mmdet's and use the pixels of all masks.

    Args:
        polygons, bitmaps: the masks of each kind, in the order of the instances.
        is_bitmap: (N,) bool, whether the mask of an instance is a bitmap.
    """

    def __init__(self, polygons: Polygons, bitmaps: LazyMasks, is_bitmap: np.ndarray):
        self.polygons, self.bitmaps = polygons, bitmaps
        self.is_bitmap = np.asarray(is_bitmap, bool)
        self.height, self.width = polygons.height, polygons.width

    @property
    def masks(self) -> np.ndarray:
        """Return all masks as bitmaps (N, height, width)."""
        return self._joined(self.polygons.to_ndarray(), self.bitmaps.to_ndarray())

    def __len__(self) -> int:
        return len(self.is_bitmap)

    def __getitem__(self, index: int | slice | list[int] | np.ndarray) -> 'MixedMasks':
        chosen = np.arange(len(self))[index].reshape(-1)
        kinds = self.is_bitmap[chosen]
        places = self._places()[chosen]
        return MixedMasks(self.polygons[places[~kinds]], self.bitmaps[places[kinds]], kinds)

    @classmethod
    def cat(cls, masks: Sequence['MixedMasks']) -> 'MixedMasks':
        """Join masks of one image, as mmengine's `InstanceData` does for an index."""
        return cls(
            Polygons.cat([one.polygons for one in masks]),
            LazyMasks.cat([one.bitmaps for one in masks]),
            np.concatenate([one.is_bitmap for one in masks]),
        )

    resize, rescale = _of_each_kind('resize'), _of_each_kind('rescale')
    flip, crop, pad = _of_each_kind('flip'), _of_each_kind('crop'), _of_each_kind('pad')

    def get_bboxes(self, dst_type: str | type = 'hbox') -> BaseBoxes:
        """Return float boxes around polygons and boxes around bitmaps; zeros for empty masks."""
        kinds = self.polygons, self.bitmaps
        boxes = self._joined(*(masks.get_bboxes('hbox').tensor.numpy() for masks in kinds))
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
        bboxes, inds = torch.as_tensor(bboxes).cpu().numpy(), torch.as_tensor(inds).cpu().numpy()
        kinds, places = self.is_bitmap[inds], self._places()[inds]
        targets = np.zeros((len(inds), *out_shape), bool if binarize else np.float32)
        for masks, of_kind in ((self.polygons, ~kinds), (self.bitmaps, kinds)):
            if of_kind.any():
                targets[of_kind] = masks.crop_and_resize(
                    bboxes[of_kind], out_shape, places[of_kind], device, interpolation, binarize
                ).masks
        return BitmapMasks(targets, *out_shape)

    def _places(self) -> np.ndarray:
        """Return the index of each instance among the masks of its kind (N,)."""
        return np.where(self.is_bitmap, self.is_bitmap.cumsum(), (~self.is_bitmap).cumsum()) - 1

    def _joined(self, polygons: np.ndarray, bitmaps: np.ndarray) -> np.ndarray:
        """Return the values of both kinds in the order of the instances."""
        joined = np.zeros((len(self), *bitmaps.shape[1:]), bitmaps.dtype)
        joined[~self.is_bitmap], joined[self.is_bitmap] = polygons, bitmaps
        return joined


@TRANSFORMS.register_module()
class LoadInstances(LoadAnnotations):
    """mmdet's LoadAnnotations that keeps polygons as polygons and decodes RLE masks to bitmaps.

    `gt_masks` are `Polygons`, `LazyMasks`, or `MixedMasks` for an image with both kinds.

    Args:
        settings: arguments of mmdet's LoadAnnotations, except `poly2mask`.
    """

    def __init__(self, **settings):
        if 'poly2mask' in settings:
            raise ValueError(
                f'LoadInstances.poly2mask is {settings["poly2mask"]}; allowed: none, as polygons '
                'are never converted; use LoadAnnotations for bitmaps'
            )
        super().__init__(**settings)

    def transform(self, results: dict) -> dict:
        """Add boxes, labels and masks; raise `UnreadableImage` if the image has another size."""
        check_stated_size(results, results['ori_shape'])
        return super().transform(results)

    def _load_masks(self, results: dict) -> None:
        results['gt_masks'] = self._made(self._process_masks(results), *results['ori_shape'])

    def _made(self, found: list, height: int, width: int) -> BaseInstanceMasks:
        is_bitmap = np.array([isinstance(one, dict) for one in found], bool)
        polygons = Polygons([one for one in found if isinstance(one, list)], height, width)
        if not is_bitmap.any():
            return polygons
        bitmaps = [self._poly2mask(one, height, width) for one in found if isinstance(one, dict)]
        bitmaps = LazyMasks(bitmaps, height, width)
        return bitmaps if is_bitmap.all() else MixedMasks(polygons, bitmaps, is_bitmap)
