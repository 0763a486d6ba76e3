"""COCO files of a detection config: checks, and replacement by a user's files."""

import os
from collections.abc import Iterable, Sequence
from functools import partial

from mmengine.config import Config, ConfigDict

from lomar.compat.dist import main_process
from lomar.detection.annotation_checks import check_coco
from lomar.detection.annotation_report import AnnotationReport, keep_for_datasets
from lomar.detection.coco import class_names, read_coco
from lomar.detection.dataset import CocoFiles
from lomar.detection.detection_limit import add_crowded_images
from lomar.utils import dicts_in

SPLITS = ('train', 'val', 'test')


def check_config(cfg: Config, splits: Sequence[str] = SPLITS) -> dict[str, AnnotationReport]:
    """Check the CocoFiles datasets of a config and what depends on them; return a report per split.

    A split with the files of an earlier split is omitted. `stop_on_errors` raises the errors. Only
    the main process reads the files. All processes get the reports, from which their next datasets
    of these files are built.

    Raises:
        FileNotFoundError: an annotation file or a folder of images is missing.
        ValueError: there are no CocoFiles in the config, or a file is not in COCO's format.
    """
    reports = main_process.share(lambda: _check_splits(cfg, splits), 'check of annotations')
    keep_for_datasets(reports.values())
    return reports


def use_files(
    cfg: Config,
    train_ann: str | None = None,
    train_images: str | None = None,
    val_ann: str | None = None,
    val_images: str | None = None,
) -> None:
    """Set a user's files in a config; the files for validation also serve for testing.

    Class names of all splits and their number in the model become those of `train_ann`, or in a
    config that only tests those of `val_ann`.
    """
    given = dict(
        train=(train_ann, train_images), val=(val_ann, val_images), test=(val_ann, val_images)
    )
    source = train_ann or (None if _datasets(cfg, 'train') else val_ann)
    classes = None
    if source:
        read = partial(read_coco, source, annotated=bool(train_ann))
        classes = main_process.share(lambda: class_names(read()), 'class names')
    for split, (ann_file, images) in given.items():
        for dataset in _datasets(cfg, split):
            if classes:
                dataset.metainfo = dict(classes=classes)
            if images:
                dataset.data_prefix = dict(img=os.path.abspath(images))
        if ann_file:
            for reader in (*_datasets(cfg, split), *_evaluators(cfg, split)):
                reader.ann_file = os.path.abspath(ann_file)
    if classes:
        for head in _heads(cfg):
            head.num_classes = len(classes)
    for split in ('val', 'test'):
        masks = _evaluates_masks(cfg, split)
        for dataset in _datasets(cfg, split):
            dataset.test_mode = True
            for step in dicts_in(dataset.get('pipeline')):
                if step.get('with_mask'):
                    step['with_mask'] = masks


def check_output(cfg: Config, reports: Iterable[AnnotationReport]) -> None:
    """Raise a ValueError for a test run that neither measures AP nor writes or shows detections."""
    hook = (cfg.get('default_hooks') or {}).get('visualization') or {}
    outputs = [evaluator.get('out') for evaluator in _evaluators(cfg, 'test')]
    for report in reports:
        if report.no_ap and not hook.get('draw') and not any(outputs):
            raise ValueError(
                f'{report.ann_file}: there is no AP: {report.no_ap}. Write detections with --out '
                'DIR, or draw them with --show-dir DIR.'
            )


def _check_splits(cfg: Config, splits: Sequence[str]) -> dict[str, AnnotationReport]:
    reports: dict[str, AnnotationReport] = {}
    seen: dict[str, AnnotationReport] = {}
    for split in splits:
        training = split == 'train'
        masks = _has_mask_head(cfg) if training else _evaluates_masks(cfg, split)
        for dataset in _datasets(cfg, split):
            root, metainfo = dataset.get('data_root') or '', dataset.get('metainfo')
            ann_file = os.path.join(root, dataset.ann_file)
            folder = os.path.join(root, (dataset.get('data_prefix') or {}).get('img', ''))
            classes = CocoFiles._load_metainfo(metainfo).get('classes')
            key = repr((ann_file, folder, classes, masks, training))
            if key not in seen:
                seen[key] = check_coco(ann_file, folder, masks, classes, training)
                name = split if split not in reports else f'{split} {len(reports) + 1}'
                reports[name] = seen[key]
                add_crowded_images(cfg, split, seen[key])
            _check_evaluators(cfg, split, seen[key])
    if not reports:
        raise ValueError(
            'the config has no dataset of type CocoFiles, so there is nothing to check'
        )
    if classified := [report for report in reports.values() if report.categories]:
        _check_classes(cfg, classified)
    return reports


def _has_mask_head(cfg: Config) -> bool:
    return bool((cfg.model.get('roi_head') or {}).get('mask_head'))


def _evaluates_masks(cfg: Config, split: str) -> bool:
    """Return whether the evaluation of a split needs masks in the file."""
    metrics = [one.get('metric', 'segm') for one in _evaluators(cfg, split)]
    return _has_mask_head(cfg) and any('segm' in metric for metric in metrics)


def _datasets(cfg: Config, split: str) -> list[ConfigDict]:
    """Return the CocoFiles of a split, also inside of dataset wrappers."""
    loader = dicts_in(cfg.get(f'{split}_dataloader'))
    return [node for node in loader if node.get('type') in ('CocoFiles', CocoFiles)]


def _evaluators(cfg: Config, split: str) -> list[ConfigDict]:
    evaluators = cfg.get(f'{split}_evaluator') or []
    evaluators = [evaluators] if isinstance(evaluators, dict) else evaluators
    return [evaluator for evaluator in evaluators if 'ann_file' in evaluator]


def _heads(cfg: Config) -> list[ConfigDict]:
    """Return the parts of the model with a number of classes."""
    return [node for node in dicts_in(cfg.model.get('roi_head')) if 'num_classes' in node]


def _check_evaluators(cfg: Config, split: str, report: AnnotationReport) -> None:
    for evaluator in _evaluators(cfg, split):
        if split == 'val' and report.no_ap:
            advice = f'{report.no_ap}; allowed: annotated files (--val-ann), or --no-validate'
            report.errors.add(f'{split}_evaluator', 'validation has no AP: ', advice)
        if os.path.abspath(evaluator.ann_file) != os.path.abspath(report.ann_file):
            where = f'{split}_evaluator.ann_file'
            report.errors.add(where, 'the evaluation reads another file, ', evaluator.ann_file)


def _check_classes(cfg: Config, reports: list[AnnotationReport]) -> None:
    """Check that the classes of the model and of all splits are equal."""
    first = list(reports[0].categories.values())
    for report in reports[1:]:
        names = list(report.categories.values())
        if names != first:
            differ = sorted(set(names) ^ set(first)) or 'in another order'
            report.errors.add(
                'categories', f'other classes than {reports[0].ann_file} has: ', f'{differ}'
            )
    for head in _heads(cfg):
        if head.num_classes != len(first):
            reports[0].errors.add(
                'categories',
                'the number of classes is not that of the config: ',
                f'{len(first)}, but num_classes={head.num_classes} in {head.get("type")}',
            )
