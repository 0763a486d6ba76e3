"""Limits of the number of detections per image, in detectors and in COCO's AP."""

from collections import Counter
from collections.abc import Iterator

from mmengine.config import Config

from lomar.detection.annotation_report import AnnotationReport, unpacked
from lomar.utils import type_name

DEFAULT = 100  # COCO's
DETECTIONS = ('max_per_img', 'max_per_image')
# Numbers of boxes that detectors keep before their last step; 0 or less is no limit.
CANDIDATES = ('nms_pre', 'max_num', 'topk', 'top_k', 'corner_topk')
QUERIES = ('num_queries', 'num_proposals')
OPTION = 'max_dets (--max-dets)'


def use_max_dets(cfg: Config, options: dict) -> None:
    """Set the limit `max_dets` of a config, if there is one, in its evaluators and its detector.

    Limits of candidates, such as proposals, are raised where they are smaller.

    Args:
        options: `--cfg-options`, which must not set the same keys.

    Raises:
        ValueError: the limit is no number above 0, nothing in the config has such a limit, or the
            detector has fewer queries.
    """
    limit = cfg.get('max_dets')
    if limit is None:
        return
    if type(limit) is not int or limit < 1:
        raise ValueError(f'{OPTION} is {limit!r}; allowed: 1 or more')
    evaluators = [path for split in ('val', 'test') for path, _ in _evaluators(cfg, split)]
    if not evaluators:
        raise ValueError(f'{OPTION} belongs to detection configs with the evaluator CocoAP')
    for path, number in _numbers(cfg.model, 'model', QUERIES).items():
        if number < limit:
            raise ValueError(
                f'{OPTION} is {limit}, but the detector has {path}={number}; allowed: {number} or '
                'less, or a detector that was trained with more queries'
            )
    changes = dict.fromkeys([f'{path}.max_dets' for path in evaluators], limit)
    changes |= dict.fromkeys(_detections(cfg), limit)
    changes |= {path: max(n, limit) for path, n in _candidates(cfg).items() if n > 0}
    for path, number in changes.items():
        if options.get(path, number) != number:
            raise ValueError(
                f'--cfg-options {path}={options[path]}, but {OPTION} sets this key to {number}; '
                'allowed: one of the two'
            )
    cfg.merge_from_dict(changes)


def detector_limit(cfg: Config) -> tuple[str, int] | None:
    """Return the smallest limit of the detections of a model and its key, or None."""
    limits = _detections(cfg) | _numbers(cfg.model, 'model', QUERIES)
    positive = [(path, number) for path, number in limits.items() if number > 0]
    return min(positive, key=lambda one: one[1], default=None)


def add_crowded_images(cfg: Config, split: str, report: AnnotationReport) -> None:
    """Add a note to a report for each image with more objects than are detected or evaluated.

    The detector's limit is for all objects of an image, the evaluator's for those of one class.
    """
    evaluators = [] if report.training else _evaluators(cfg, split)
    per_class = {f'{path}.max_dets': one.get('max_dets', DEFAULT) for path, one in evaluators}
    per_image = dict([found]) if (found := detector_limit(cfg)) else {}
    most, most_of_class = (min(one.values(), default=None) for one in (per_image, per_class))
    least = min(filter(None, (most, most_of_class)), default=None)
    if least is None:
        return
    crowded = []
    for image_id, packed in report.objects.items():
        if len(packed) > least:
            objects = [one for one in map(unpacked, packed) if not one['iscrowd']]
            of_class = max(Counter(one['category_id'] for one in objects).values(), default=0)
            if len(objects) > (most or len(objects)) or of_class > (most_of_class or of_class):
                crowded.append((len(objects), image_id))
    crowded.sort(key=lambda one: -one[0])
    keys = ', '.join(f'{path}={number}' for path, number in (per_image | per_class).items())
    for count, image_id in crowded:
        what = f'has more objects than the limits {keys}; to find all, --max-dets {crowded[0][0]}: '
        report.notes.add(f'images, id {image_id}', what, f'{count} objects', loud=True)


def has_max_dets(cfg: Config) -> bool:
    """Return whether all evaluators of a config have its `max_dets`, as after `use_max_dets`."""
    found = [one for split in ('val', 'test') for _, one in _evaluators(cfg, split)]
    return all(one.get('max_dets') == cfg.max_dets for one in found)


def _evaluators(cfg: Config, split: str) -> Iterator[tuple[str, dict]]:
    """Yield the evaluators of type CocoAP of a split with their keys in the config."""
    name = f'{split}_evaluator'
    for path, one in _paths(cfg.get(name), name):
        if type_name(one) == 'CocoAP':
            yield path, one


def _detections(cfg: Config) -> dict[str, int]:
    """Return the limits of the detections of a model by key."""
    found = _numbers(cfg.model, 'model', DETECTIONS)
    return {path: n for path, n in found.items() if '.test_cfg.' in path and '.rpn.' not in path}


def _candidates(cfg: Config) -> dict[str, int]:
    """Return the limits of boxes that a detector keeps before its last step, by key."""
    found = _numbers(cfg.model, 'model', DETECTIONS + CANDIDATES)
    last = _detections(cfg)
    return {path: n for path, n in found.items() if '.test_cfg.' in path and path not in last}


def _numbers(node: object, path: str, names: tuple[str, ...]) -> dict[str, int]:
    """Return the integers in a node of a config that have one of the names, by key."""
    return {
        f'{place}.{name}': one[name]
        for place, one in _paths(node, path)
        for name in names
        if type(one.get(name)) is int
    }


def _paths(node: object, path: str) -> Iterator[tuple[str, dict]]:
    """Yield the dicts in a node with their keys in the config, and the node if it is a dict."""
    if isinstance(node, dict):
        yield path, node
        node = node.items()
    elif isinstance(node, list | tuple):
        node = enumerate(node)
    else:
        return
    for key, child in node:
        yield from _paths(child, f'{path}.{key}')
