"""Dataset of a COCO-format file, which is checked when it is read."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS

from lomar.datasets.config_classes import given_classes
from lomar.datasets.readable import ReadableImages
from lomar.detection.annotation_checks import check_coco
from lomar.detection.annotation_report import stop_on_errors, take_report, unpacked


def chosen_classes(settings: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the classes that `CocoFiles` with these arguments uses of its file; None for all."""
    model = settings.get('model_classes') if settings.get('leave_out') else None
    return given_classes(settings) or (tuple(model) if model else None)


@DATASETS.register_module()
class CocoFiles(ReadableImages, CocoDataset):
    """mmdet's CocoDataset for any COCO-format file, which is checked when it is read.

    Labels are indices of `model_classes`. Otherwise they are in the order of `classes` of
    `metainfo`, which leaves out all other classes of the file, or in the order of category id.
    Masks are needed if the pipeline loads them.

    Args:
        model_classes: classes of the model in the order of its labels. The file may lack some.
        leave_out: whether objects of other classes are left out. Otherwise they are errors.

    Raises:
        FileNotFoundError: the annotation file or the image folder does not exist.
        ValueError: the file has errors; the message lists them with their entries.
    """

    METAINFO: ClassVar[dict] = {}  # without COCO's names

    def __init__(
        self, *args, model_classes: Sequence[str] | None = None, leave_out: bool = False, **kwargs
    ):
        self.model_classes, self.leave_out = model_classes, leave_out
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return a dict per image with its objects as bytes; `get_data_info` decodes them."""
        folder = self.data_prefix.setdefault('img', self.data_root)
        masks = any(getattr(step, 'with_mask', False) for step in self.pipeline.transforms)
        chosen = chosen_classes(
            dict(
                metainfo=self._metainfo, model_classes=self.model_classes, leave_out=self.leave_out
            )
        )
        files = self.ann_file, folder, masks, chosen, self.model_classes, not self.test_mode
        report = take_report(*files) or check_coco(*files)
        stop_on_errors([report])
        report.notes.log()
        self._metainfo['classes'] = report.model_names
        if self.test_mode:
            self._metainfo['tested_classes'] = tuple(report.categories.values())
        self.cat_ids = list(report.categories)
        labels = {name: label for label, name in enumerate(report.model_names)}
        self.cat2label = {key: labels[name] for key, name in report.categories.items()}
        # mmdet filters images without objects by this map, if the config requires it.
        self.cat_img_map = {key: report.images_of.get(key, set()) for key in self.cat_ids}
        return [
            dict(image, img_id=image_id, objects=report.objects.get(image_id, []))
            for image_id, image in report.images.items()
        ]

    def filter_data(self) -> list[dict]:
        """Return the images that `filter_cfg` keeps; raise a ValueError if there are none."""
        kept = super().filter_data()
        if self.data_list and not kept:
            raise ValueError(
                f'{self.ann_file}: filter_cfg={dict(self.filter_cfg)} keeps none of the '
                f'{len(self.data_list)} images'
            )
        return kept

    def get_data_info(self, idx: int) -> dict:
        """Return `img_path`, `img_id`, `height`, `width`, `instances` and so on of an image."""
        info = super().get_data_info(idx)
        # mmdet leaves out objects of area 0, which `check_coco` has done.
        objects = [dict(unpacked(one), area=1) for one in info.pop('objects')]
        parsed = self.parse_data_info(dict(raw_img_info=info, raw_ann_info=objects))
        del info['file_name']
        return info | parsed
