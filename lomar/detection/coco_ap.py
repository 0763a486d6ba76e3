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

from lomar.detection.coco import normalised_coco, read_coco
from lomar.detection.detection_limit import DEFAULT
from lomar.detection.lazy_masks import encode
from lomar.utils import check_least, write_json

# Index of the IoU threshold (None: mean of all) and name of the object sizes, as in COCO's table.
STATS = dict(
    AP=(None, 'all'),
    AP50=(0, 'all'),
    AP75=(5, 'all'),
    APs=(None, 'small'),
    APm=(None, 'medium'),
    APl=(None, 'large'),
)


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
                entry['masks'] = encode(found['masks'].numpy())
            self.results.append(entry)

    @cached_property
    def _truth(self) -> bytes:
        """Return the pickled annotations, which are read at the first evaluation."""
        coco = read_coco(self.ann_file, annotated=False)
        return pickle.dumps(normalised_coco(coco, 'segm' in self.kinds))

    def compute_metrics(self, results: list[dict]) -> dict[str, float]:
        """Return AP by kind as fractions of 1; store percentages and AP per class in `summary`.

        Without objects, AP is left out of the former, and None in the latter.
        """
        # pycocotools changes its copy.
        whole = of_images(pickle.loads(self._truth), {one['image_id'] for one in results})
        ids = {category['name']: category['id'] for category in whole['categories']}
        categories = [ids[name] for name in self.dataset_meta['classes']]
        figures = {}
        for kind in self.kinds:
            detections = _detections(results, kind, categories)
            if self.out:
                write_json(Path(self.out) / f'{kind}.json', detections, indent=None)
            truth = _indexed(whole, [one for one in whole['annotations'] if _counts(one, kind)])
            found = average_precision(truth, detections, kind, categories, self.max_dets)
            self.summary[kind] = {**found, 'max_dets': self.max_dets}
            for name, value in found.items():
                if isinstance(value, float):
                    figures[f'{kind}_{name.replace("AP", "mAP")}'] = value / 100
        return figures


def of_images(coco: dict, images: set) -> dict:
    """Return annotations without those of other images, which a test has left out."""
    return coco | dict(
        images=[one for one in coco['images'] if one['id'] in images],
        annotations=[one for one in coco['annotations'] if one['image_id'] in images],
    )


def average_precision(
    truth: COCO,
    detections: list[dict],
    kind: str,
    categories: Sequence[int],
    max_dets: int = DEFAULT,
) -> dict:
    """Return AP, AP50, AP75, APs, APm, APl and AP `per_class` by name, in percent.

    A value is None if the dataset has no object of the size or class.

    Args:
        detections: in COCO's result format.
        kind: 'bbox' or 'segm'.
        categories: ids of the evaluated categories.
        max_dets: number of detections per image and category that are evaluated.
    """
    names = {category['id']: category['name'] for category in truth.dataset['categories']}
    if not truth.anns:
        print_log(f'{kind}: the dataset has no objects, so there is no AP', logger='current')
        return dict.fromkeys(STATS) | {'per_class': {names[c]: None for c in categories}}
    if not detections:
        print_log(f'{kind}: nothing was detected', logger='current')
    with contextlib.redirect_stdout(io.StringIO()):  # both libraries print progress
        # pycocotools fails for an empty list.
        found = truth.loadRes(detections) if detections else _indexed(truth.dataset, [])
        evaluation = COCOeval(truth, found, kind)
        evaluation.params.catIds = list(categories)
        evaluation.params.maxDets = sorted({1, min(10, max_dets), max_dets})
        evaluation.evaluate()
        evaluation.accumulate()
    # COCOeval.summarize reads AP at a limit of 100 only.
    print_log('\n'.join([kind, *_table(evaluation)]), logger='current')
    # Axes: IoU thresholds, recalls, classes, areas (the first is "all"), limits.
    precision = evaluation.eval['precision'][:, :, :, 0, -1]
    stats = {
        name: _percent(_slice(evaluation, 'precision', *place)) for name, place in STATS.items()
    }
    return stats | {
        'per_class': {names[c]: _percent(precision[:, :, i]) for i, c in enumerate(categories)}
    }


def _counts(annotation: dict, kind: str) -> bool:
    """Whether an annotation has what is evaluated, a box or a mask."""
    return kind == 'bbox' or 'segmentation' in annotation


def _indexed(dataset: dict, annotations: list[dict]) -> COCO:
    """Return a dataset with other annotations as an object of pycocotools."""
    coco = COCO()
    coco.dataset = {**dataset, 'annotations': annotations}
    with contextlib.redirect_stdout(io.StringIO()):  # createIndex prints progress
        coco.createIndex()
    return coco


def _slice(
    evaluation: COCOeval, what: str, threshold: int | None, size: str, limit: int = -1
) -> np.ndarray:
    """Return the values of an IoU threshold (None: of all), a size and an index of `maxDets`.

    Args:
        what: 'precision' (thresholds, recalls, classes, sizes, limits) or 'recall'.
    """
    values = evaluation.eval[what]
    values = values if threshold is None else values[[threshold]]
    return values[..., evaluation.params.areaRngLbl.index(size), limit]


def _table(evaluation: COCOeval) -> list[str]:
    """Return COCO's table of AP and average recall at the limits of the evaluation."""
    rows = [('Precision', 'AP', 'precision', *place, -1) for place in STATS.values()]
    recalls = [('all', limit) for limit in range(len(evaluation.params.maxDets))]
    recalls += [(size, -1) for size in evaluation.params.areaRngLbl[1:]]
    rows += [('Recall', 'AR', 'recall', None, *place) for place in recalls]
    lines = []
    for title, short, what, threshold, size, limit in rows:
        percent = _percent(_slice(evaluation, what, threshold, size, limit))
        value = -1 if percent is None else percent / 100
        thresholds = evaluation.params.iouThrs
        iou = f'{thresholds[0]:.2f}:{thresholds[-1]:.2f}'
        iou = iou if threshold is None else f'{thresholds[threshold]:.2f}'
        lines.append(
            f' {f"Average {title}":<18} ({short}) @[ IoU={iou:<9} | area={size:>6s} | '
            f'maxDets={evaluation.params.maxDets[limit]:>3d} ] = {value:0.3f}'
        )
    return lines


def _detections(results: list[dict], kind: str, categories: Sequence[int]) -> list[dict]:
    """Return entries in COCO's result format.

    A mask has no box, because pycocotools would compute the object size from the box.
    """
    key, source = ('bbox', 'bboxes') if kind == 'bbox' else ('segmentation', 'masks')
    return [
        dict(image_id=one['image_id'], category_id=categories[label], score=score, **{key: value})
        for one in results
        for label, score, value in zip(one['labels'], one['scores'], one[source], strict=True)
    ]


def _percent(fractions: np.ndarray) -> float | None:
    """Return the mean in percent without values of -1, which mean "no object"; None without any."""
    valid = fractions[fractions > -1]
    return 100 * float(valid.mean()) if valid.size else None
