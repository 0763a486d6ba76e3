"""Metric for COCO's average precision, which also writes the detections."""

import pickle
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from torchvision.ops import box_convert

from lomar.datasets.class_names import unknown_classes
from lomar.detection.average_precision import average_precision, indexed
from lomar.detection.coco import normalised_coco, read_coco
from lomar.detection.detection_limit import DEFAULT
from lomar.detection.lazy_masks import encode
from lomar.utils import check_least, write_json


@METRICS.register_module()
class CocoAP(BaseMetric):
    """Box and mask AP of a COCO-format dataset.

    Args:
        ann_file: annotations of the test images.
        metric: 'bbox', 'segm' or both.
        out: folder for the detections in COCO's result format, bbox.json and segm.json.
        max_dets: number of detections per image and class that are evaluated, those of the highest
            scores. COCO's is 100; images with more objects need more.
    """

    default_prefix = 'coco'

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = ('bbox', 'segm'),
        out: str | None = None,
        max_dets: int = DEFAULT,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kinds = [metric] if isinstance(metric, str) else list(metric)
        wrong = set(self.kinds) - {'bbox', 'segm'}
        if wrong:
            raise ValueError(f'val_evaluator.metric has {sorted(wrong)}; allowed: bbox, segm')
        check_least('CocoAP', max_dets=max_dets)
        self.ann_file, self.out, self.max_dets = ann_file, out, max_dets
        self.summary: dict[str, dict] = {}

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Store the detections of a batch, one entry per image."""
        for sample in data_samples:
            found = {key: value.cpu() for key, value in sample['pred_instances'].items()}
            entry = dict(
                image_id=sample['img_id'],
                labels=found['labels'].tolist(),
                scores=found['scores'].tolist(),
                bboxes=box_convert(found['bboxes'].double(), 'xyxy', 'xywh').tolist(),
            )
            if 'segm' in self.kinds:
                if 'masks' not in found:
                    raise ValueError(
                        f'CocoAP: metric is {self.kinds}, and the model predicts no masks; '
                        "allowed: 'bbox'"
                    )
                entry['masks'] = encode(found['masks'].numpy())
            self.results.append(entry)

    @cached_property
    def _truth(self) -> bytes:
        """Return the pickled annotations, which are read at the first evaluation."""
        coco = read_coco(self.ann_file, annotated=False)
        return pickle.dumps(normalised_coco(coco, 'segm' in self.kinds, self._tested))

    @property
    def _tested(self) -> Sequence[str]:
        return self.dataset_meta.get('tested_classes', self.dataset_meta['classes'])

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Return AP by kind as fractions of 1; store percentages and AP per class in `summary`.

        Without objects, AP is left out of the former, and None in the latter.
        """
        # pycocotools changes its copy.
        whole = of_images(pickle.loads(self._truth), {one['image_id'] for one in results})
        by_label = self._ids(whole['categories'])
        categories = sorted({one['id'] for one in whole['categories']} & set(by_label))
        figures = {}
        for kind in self.kinds:
            detections = _detections(results, kind, by_label)
            if self.out:
                write_json(Path(self.out) / f'{kind}.json', detections, indent=None)
            truth = indexed(whole, [one for one in whole['annotations'] if _counts(one, kind)])
            found = average_precision(truth, detections, kind, categories, self.max_dets)
            self.summary[kind] = {**found, 'max_dets': self.max_dets}
            for name, value in found.items():
                if isinstance(value, float):
                    figures[f'{kind}_{name.replace("AP", "mAP")}'] = value / 100
        return figures

    def _ids(self, categories: Sequence[dict]) -> list[int | None]:
        """Return the category id of each label of the model; None for a class that is not tested.

        For a file without categories, the ids are 1 to N.
        """
        classes = self.dataset_meta['classes']
        if not categories:
            return list(range(1, len(classes) + 1))
        ids = {category['name']: category['id'] for category in categories}
        found = [ids.get(name) if name in self._tested else None for name in classes]
        if all(key is None for key in found):
            raise ValueError(f'{self.ann_file}: {unknown_classes(list(ids), classes)}')
        return found


def of_images(coco: dict, images: set) -> dict:
    """Return annotations without those of other images, which a test has left out."""
    return coco | dict(
        images=[one for one in coco['images'] if one['id'] in images],
        annotations=[one for one in coco['annotations'] if one['image_id'] in images],
    )


def _counts(annotation: dict, kind: str) -> bool:
    """Whether an annotation has what is evaluated, a box or a mask."""
    return kind == 'bbox' or 'segmentation' in annotation


def _detections(results: list[dict], kind: str, by_label: Sequence[int | None]) -> list[dict]:
    """Return entries in COCO's result format, without those of labels that have no category id.

    A mask has no box, because pycocotools would compute the object size from the box.
    """
    key, source = ('bbox', 'bboxes') if kind == 'bbox' else ('segmentation', 'masks')
    return [
        dict(image_id=one['image_id'], category_id=by_label[label], score=score, **{key: value})
        for one in results
        for label, score, value in zip(one['labels'], one['scores'], one[source], strict=True)
        if by_label[label] is not None
    ]
