"""Dataset of a folder of images and a folder of masks."""

from collections.abc import Sequence
from typing import Any

from mmengine.registry import DATASETS

from lomar.datasets.config_classes import given_classes
from lomar.datasets.readable import ReadableImages
from lomar.segmentation.mask_files import find_pairs
from lomar.segmentation.mask_ids import IGNORED, MaskIds


@DATASETS.register_module()
class MaskedImages(ReadableImages):
    """Dataset of the images in a folder, each with a mask of class ids in another folder.

    `metainfo['classes']` are the names of the ids. Labels are indices of `model_classes`,
    otherwise of these names.

    Args:
        data_root: folder of images.
        mask_root: folder of masks, see `find_pairs`.
        pipeline: transforms; `LoadMask` loads the mask after `LoadImage`.
        image_suffix, mask_suffix: see `find_pairs`.
        ignore_index, reduce_zero_label: see `MaskIds`.
        model_classes: classes of the model in the order of its labels.
        kwargs: arguments of `ReadableImages` and mmengine's `BaseDataset`.
    """

    def __init__(
        self,
        data_root: str,
        mask_root: str,
        pipeline: list,
        image_suffix: str = '',
        mask_suffix: str = '',
        ignore_index: int = IGNORED,
        reduce_zero_label: bool = False,
        model_classes: Sequence[str] | None = None,
        **kwargs,
    ):
        self.mask_root, self.suffixes = mask_root, (image_suffix, mask_suffix)
        self.ignore_index, self.reduce_zero_label = ignore_index, reduce_zero_label
        self.model_classes = model_classes
        super().__init__(data_root=data_root, data_prefix={}, pipeline=pipeline, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Return one dict with `img_path` and `seg_map_path` per image."""
        names = given_classes(dict(metainfo=self._metainfo)) or tuple(self.model_classes or ())
        classes = tuple(self.model_classes or names)
        ids = MaskIds(names, self.ignore_index, self.reduce_zero_label)
        self._label_of_id = ids.labels(classes)
        self._metainfo['classes'] = classes
        pairs = find_pairs(self.data_root, self.mask_root, *self.suffixes, self.arrays)
        return [dict(img_path=image, seg_map_path=mask) for image, mask in pairs]

    def prepare_data(self, idx: int) -> Any:
        """Return a sample of the pipeline, which gets the label of each id as well."""
        return self.pipeline(dict(self.get_data_info(idx), label_of_id=self._label_of_id))
