"""Test-time augmentation of detectors that also predict masks."""

from mmdet.models.test_time_augs import DetTTAModel
from mmengine.registry import MODELS


@MODELS.register_module()
class BoxTTAModel(DetTTAModel):
    """`DetTTAModel` that drops masks, which `DetTTAModel` does not support."""

    def merge_preds(self, data_samples_list: list[list]) -> list:
        """Merge the boxes of the views of every image."""
        for views in data_samples_list:
            for view in views:
                view.pred_instances.pop('masks', None)
        return super().merge_preds(data_samples_list)
