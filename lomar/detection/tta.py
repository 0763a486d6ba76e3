"""Test-time augmentation of detectors that also predict masks."""

from copy import deepcopy

from mmdet.models.test_time_augs import DetTTAModel
from mmengine.config import Config
from mmengine.registry import MODELS

from lomar.detection.detection_limit import DEFAULT, detector_limit
from lomar.utils import inner_datasets


@MODELS.register_module()
class BoxTTAModel(DetTTAModel):
    """`DetTTAModel` that drops masks, which `DetTTAModel` does not support."""

    def merge_preds(self, data_samples_list: list[list]) -> list:
        """Merge the boxes of the views of every image."""
        for views in data_samples_list:
            for view in views:
                view.pred_instances.pop('masks', None)
        return super().merge_preds(data_samples_list)


def augment_tests(cfg: Config) -> None:
    """Set in a config that every image is tested unchanged and flipped, and boxes are merged.

    As many merged boxes are kept as the detector keeps boxes.
    """
    flips = [dict(type='RandomFlip', prob=float(flip)) for flip in (False, True)]
    for dataset in inner_datasets(cfg.test_dataloader.dataset):
        *steps, pack = deepcopy(dataset.pipeline)
        pack.meta_keys = (*pack.meta_keys, 'flip', 'flip_direction')
        dataset.pipeline = [*steps, dict(type='TestTimeAug', transforms=[flips, [pack]])]
    _, limit = detector_limit(cfg) or ('', cfg.test_evaluator.get('max_dets', DEFAULT))
    cfg.model = dict(
        type='BoxTTAModel',
        tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=limit),
        module=cfg.model,
    )
