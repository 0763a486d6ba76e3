"""COCO's average precision by pycocotools: unrounded values, per class, with detections."""

import contextlib
import io
import pickle
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.registry import METRICS
from torchvision.ops import box_convert

try:  # a drop-in replacement, several times as fast
    from faster_coco_eval import COCO
    from faster_coco_eval import COCOeval_faster as COCOeval
except ImportError:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

from lomar.datasets.class_names import unknown_classes
from lomar.detection.coco import normalised_coco, read_coco
from lomar.detection.lazy_masks import encode
from lomar.utils import write_json

# Places in COCOeval.stats.
STATS = dict(AP=0, AP50=1, AP75=2, APs=3, APm=4, APl=5)


@METRICS.register_module()
class CocoAP(BaseMetric):
    """Box and mask AP of a COCO-format dataset.

    Args:
        ann_file: annotations of the test images.
        metric: 'bbox', 'segm' or both.
        out: folder for the detections in COCO's result format, bbox.json and segm.json.
    """

    default_prefix = 'coco'

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = ('bbox', 'segm'),
        out: str | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kinds = [metric] if isinstance(metric, str) else list(metric)
        wrong = set(self.kinds) - {'bbox', 'segm'}
        if wrong:
            raise ValueError(f'val_evaluator.metric has {sorted(wrong)}; allowed: bbox, segm')
        self.ann_file, self.out = ann_file, out
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
                entry['masks'] = encode(found['masks'].numpy())
            self.results.append(entry)

    @cached_property
    def _truth(self) -> bytes:
        """Return the pickled annotations, which are read at the first evaluation."""
        return pickle.dumps(normalised_coco(read_coco(self.ann_file), 'segm' in self.kinds))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Return AP by kind as fractions of 1; store percentages and AP per class in `summary`."""
        truth = COCO()
        with contextlib.redirect_stdout(io.StringIO()):  # createIndex prints progress
            # pycocotools changes its copy.
            truth.dataset = of_images(pickle.loads(self._truth), {r['image_id'] for r in results})
            truth.createIndex()
        by_label = self._categories(truth.dataset['categories'])
        categories = sorted({key for key in by_label if key is not None})
        figures = {}
        for kind in self.kinds:
            detections = _detections(results, kind, by_label)
            if self.out:
                write_json(Path(self.out) / f'{kind}.json', detections, indent=None)
            self.summary[kind] = average_precision(truth, detections, kind, categories)
            for name, value in self.summary[kind].items():
                if isinstance(value, float):
                    figures[f'{kind}_{name.replace("AP", "mAP")}'] = value / 100
        return figures

    def _categories(self, categories: Sequence[dict]) -> list[int | None]:
        """Return the category id of each label of the model; None for a class without AP."""
        ids = {category['name']: category['id'] for category in categories}
        classes = self.dataset_meta['classes']
        tested = self.dataset_meta.get('tested_classes', classes)
        found = [ids.get(name) if name in tested else None for name in classes]
        if all(key is None for key in found):
            raise ValueError(f'{self.ann_file}: {unknown_classes(list(ids), classes)}')
        return found


def of_images(coco: dict, images: set) -> dict:
    """Return annotations without those of other images, which a test has left out."""
    return coco | dict(
        images=[one for one in coco['images'] if one['id'] in images],
        annotations=[one for one in coco['annotations'] if one['image_id'] in images],
    )


def average_precision(
    truth: COCO, detections: list[dict], kind: str, categories: Sequence[int]
) -> dict:
    """Return AP, AP50, AP75, APs, APm, APl and AP `per_class` by name, in percent.

    A value is None if the dataset has no object of the size or class.

    Args:
        detections: in COCO's result format.
        kind: 'bbox' or 'segm'.
        categories: ids of the evaluated categories in ascending order.
    """
    names = {category['id']: category['name'] for category in truth.dataset['categories']}
    if not detections:
        print_log(f'{kind}: nothing was detected', logger='current')
        present = {annotation['category_id'] for annotation in truth.dataset['annotations']}
        return dict.fromkeys(STATS, 0.0) | {
            'per_class': {names[c]: 0.0 if c in present else None for c in categories}
        }
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        evaluation = COCOeval(truth, truth.loadRes(detections), kind)
        evaluation.params.catIds = list(categories)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    table = [line for line in output.getvalue().splitlines() if line.startswith(' Average')]
    print_log('\n'.join([kind, *table]), logger='current')
    # Axes: IoU thresholds, recalls, classes, areas (the first is "all"), limits (the last is 100).
    precision = evaluation.eval['precision'][:, :, :, 0, -1]
    return {name: _percent(evaluation.stats[place]) for name, place in STATS.items()} | {
        'per_class': {names[c]: _percent(precision[:, :, i]) for i, c in enumerate(categories)}
    }


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


def _percent(fractions: np.ndarray) -> float | None:
    """Return the mean in percent without values of -1, which mean "no object"; None without any."""
    valid = fractions[fractions > -1]
    return 100 * float(valid.mean()) if valid.size else None
