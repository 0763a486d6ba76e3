"""Pipeline step that loads masks of class ids as labels."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from lomar.datasets.unreadable import UnreadableImage
from lomar.segmentation.mask_files import read_ids


@TRANSFORMS.register_module()
class LoadMask(BaseTransform):
    """Pipeline step that loads the mask `seg_map_path` into `gt_seg_map`, (H, W) uint8 labels.

    The step follows `LoadImage`. A sample without a mask, as for a prediction, is unchanged.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add `gt_seg_map`; raise an `UnreadableImage` if mask and image do not fit."""
        path = results.get('seg_map_path')
        if path is None:
            return results
        labels = labels_of(path, read_ids(path), results['label_of_id'])
        if labels.shape != tuple(results['ori_shape'][:2]):
            raise UnreadableImage(
                path, f'(height, width) is {labels.shape}, the image has {results["ori_shape"]}'
            )
        results['gt_seg_map'] = labels
        results.setdefault('seg_fields', []).append('gt_seg_map')
        return results


def labels_of(path: str, ids: np.ndarray, label_of_id: np.ndarray) -> np.ndarray:
    """Return the labels (H, W) uint8 of ids; raise an `UnreadableImage` for ids of no class."""
    low, high = int(ids.min()), int(ids.max())
    if low < 0 or high >= len(label_of_id):
        raise UnreadableImage(path, f'has the id {low if low < 0 else high}, which no class has')
    labels = label_of_id[ids]
    if labels.min() < 0:
        raise UnreadableImage(path, f'has the id {ids[labels < 0][0]}, which no class has')
    return labels.astype(np.uint8)
