"""Settings of a detection config for evaluation, and whether masks are needed."""

from collections.abc import Iterable

from mmengine.config import Config, ConfigDict

from lomar.datasets.config_classes import datasets_of
from lomar.detection.annotation_report import AnnotationReport
from lomar.detection.dataset import CocoFiles
from lomar.detection.predicted_masks import has_mask_head
from lomar.utils import dicts_in


def prepare_evaluation(cfg: Config) -> None:
    """Set what datasets for validation and testing need, whatever the config has.

    They keep images without objects, and load masks only if the evaluation needs masks.
    """
    for split in ('val', 'test'):
        masks = evaluates_masks(cfg, split)
        for dataset in datasets_of(cfg, split, CocoFiles):
            dataset.test_mode = True
            for step in dicts_in(dataset.get('pipeline')):
                if step.get('with_mask'):
                    step['with_mask'] = masks


def check_output(cfg: Config, reports: Iterable[AnnotationReport]) -> None:
    """Raise a ValueError for a test run that neither measures AP nor writes or shows detections."""
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    outputs = [evaluator.get('out') for evaluator in evaluators_of(cfg, 'test')]
    for report in reports:
        if report.no_ap and not hook.get('draw') and not any(outputs):
            raise ValueError(
                f'{report.ann_file}: there is no AP: {report.no_ap}. Write detections with --out '
                'DIR, or draw them with --show-dir DIR.'
            )


def trains_masks(cfg: Config, dataset: ConfigDict) -> bool:
    """Return whether a training on a dataset needs masks in its file."""
    return has_mask_head(cfg.model) or any(
        step.get('with_mask') for step in dicts_in(dataset.get('pipeline'))
    )


def evaluates_masks(cfg: Config, split: str) -> bool:
    """Return whether the evaluation of a split needs masks in the file."""
    metrics = [one.get('metric', 'segm') for one in evaluators_of(cfg, split)]
    return has_mask_head(cfg.model) and any('segm' in metric for metric in metrics)


def evaluators_of(cfg: Config, split: str) -> list[ConfigDict]:
    """Return the evaluators of a split that read an annotation file."""
    evaluators = cfg.get(f'{split}_evaluator') or []
    evaluators = [evaluators] if isinstance(evaluators, dict) else evaluators
    return [evaluator for evaluator in evaluators if 'ann_file' in evaluator]
