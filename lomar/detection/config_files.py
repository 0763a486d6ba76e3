"""COCO files of a detection config: checks, and replacement by a user's files."""

import os
from collections.abc import Sequence

from mmengine.config import Config, ConfigDict

from lomar.compat.dist import main_process
from lomar.datasets.config_classes import (
    SPLITS,
    classes_of_unnamed,
    clear_model_classes,
    datasets_of,
    datasets_to_set,
    given_in,
    set_head_classes,
    set_model_classes,
    wrong_counts,
)
from lomar.detection.annotation_checks import check_coco
from lomar.detection.annotation_report import AnnotationReport, keep_for_datasets
from lomar.detection.category_labels import MISSING
from lomar.detection.coco import class_names, read_coco
from lomar.detection.dataset import CocoFiles, chosen_classes
from lomar.detection.detection_limit import add_crowded_images
from lomar.detection.evaluation_config import (
    evaluates_masks,
    evaluators_of,
    prepare_evaluation,
    trains_masks,
)
from lomar.utils import inner_datasets, type_name


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
    classes = next(iter(reports.values())).model_names
    _, *others = [one for split in splits for one in datasets_of(cfg, split, CocoFiles)]
    for dataset in others:  # the first one has these classes or defines them
        dataset.model_classes = list(classes)
    return reports


def use_files(
    cfg: Config,
    train_ann: str | None = None,
    train_images: str | None = None,
    val_ann: str | None = None,
    val_images: str | None = None,
    trained: Sequence[str] | None = None,
) -> None:
    """Set a user's files in a config; the files for validation also serve for testing.

    The classes of the model and their number are those of the checkpoint to test, otherwise those
    that the config gives for training, otherwise those of `train_ann`. Settings that every
    evaluation needs are set, too.

    Args:
        trained: classes of the checkpoint to test; () if it has no names; None for training.
    """
    clear_model_classes(cfg, CocoFiles)
    given = dict(
        train=(train_ann, train_images), val=(val_ann, val_images), test=(val_ann, val_images)
    )
    for split, (ann_file, images) in given.items():
        datasets = datasets_to_set(cfg, split, CocoFiles, ann=ann_file, images=images)
        if images:
            for dataset in datasets:
                dataset.data_prefix = dict(img=os.path.abspath(images))
        if ann_file:
            for reader in (*datasets, *evaluators_of(cfg, split)):
                reader.ann_file = os.path.abspath(ann_file)
    if trained is None and val_ann and not datasets_of(cfg, 'train', CocoFiles):
        trained = ()
    chosen = given_in(cfg, 'train', CocoFiles)
    classes: Sequence[str] | None = chosen
    if trained is not None:
        classes = trained or classes_of_unnamed(cfg, CocoFiles, _names_in_file)
    elif train_ann and not chosen:
        classes = _names_in_file(dict(ann_file=train_ann))
    if classes:
        set_model_classes(cfg, CocoFiles, classes)
        set_head_classes(cfg, classes)
    if chosen and trained is None:
        for split in SPLITS:
            for dataset in datasets_of(cfg, split, CocoFiles):
                dataset.leave_out = True
    prepare_evaluation(cfg)


def tested_files(cfg: Config) -> tuple[str, str]:
    """Return the annotation file of the test and the folder of its images.

    Raises:
        ValueError: the test has no such file, or several.
    """
    loader = cfg.get('test_dataloader') or {}
    parts = inner_datasets(loader['dataset']) if loader.get('dataset') else ()
    found = {_files(part) for part in parts if part.get('ann_file')}
    if len(found) != 1:
        raise ValueError(
            f'test_dataloader.dataset of the config has {len(found)} annotation files; allowed: '
            'one, or --val-ann and --val-images'
        )
    return found.pop()


def _names_in_file(dataset: dict) -> tuple[str, ...]:
    """Return the classes in the annotation file of a dataset, in the order of their ids."""
    path = _annotations(dataset)
    return main_process.share(lambda: class_names(read_coco(path, False)), 'class names')


def _annotations(dataset: dict) -> str:
    return os.path.join(dataset.get('data_root') or '', dataset['ann_file'])


def _check_splits(cfg: Config, splits: Sequence[str]) -> dict[str, AnnotationReport]:
    reports: dict[str, AnnotationReport] = {}
    seen: dict[tuple, AnnotationReport] = {}
    classes: tuple[str, ...] | None = None  # of the model
    for split in splits:
        training = split == 'train'
        for dataset in datasets_of(cfg, split, CocoFiles):
            masks = trains_masks(cfg, dataset) if training else evaluates_masks(cfg, split)
            chosen, files = chosen_classes(dataset), _files(dataset)
            classes = classes or (tuple(dataset.get('model_classes') or ()) or None)
            arguments = (*files, masks, chosen, classes, training)
            report = seen.get(arguments) or check_coco(*arguments)
            classes = report.model_names
            arguments = (*files, masks, chosen, classes, training)
            if arguments not in seen:
                seen[arguments] = report
                reports[split if split not in reports else f'{split} {len(reports) + 1}'] = report
                add_crowded_images(cfg, split, report)
            _check_evaluators(cfg, split, report)
    if not reports:
        raise ValueError(
            'the config has no dataset of type CocoFiles, so there is nothing to check'
        )
    if next(iter(reports.values())).model_names:
        _check_classes(cfg, reports)
    return reports


def _files(dataset: ConfigDict) -> tuple[str, str]:
    """Return the annotation file and the folder of images of a dataset."""
    folder = (dataset.get('data_prefix') or {}).get('img', '')
    return _annotations(dataset), os.path.join(dataset.get('data_root') or '', folder)


def _check_evaluators(cfg: Config, split: str, report: AnnotationReport) -> None:
    for evaluator in evaluators_of(cfg, split):
        if split == 'val' and report.no_ap:
            advice = f'{report.no_ap}; allowed: annotated files (--val-ann), or --no-validate'
            report.errors.add(f'{split}_evaluator', 'validation has no AP: ', advice)
        if os.path.abspath(evaluator.ann_file) != os.path.abspath(report.ann_file):
            where = f'{split}_evaluator.ann_file'
            report.errors.add(where, 'the evaluation reads another file, ', evaluator.ann_file)
        order = _order(evaluator, report)
        if type_name(evaluator) != 'CocoAP' and order != list(report.model_names):
            report.errors.add(
                f'{split}_evaluator.type',
                "this evaluation expects the labels in another order than the model's; allowed: "
                'CocoAP, which maps classes by name; found ',
                f'{type_name(evaluator)} for {order}; the model has {list(report.model_names)}',
            )


def _order(evaluator: ConfigDict, report: AnnotationReport) -> list[str]:
    """Return the classes of a file in the order of the labels that mmdet's evaluator expects."""
    names = report.names if evaluator.get('sort_categories') else report.listed
    used = report.categories.values()
    every = type_name(evaluator).startswith('LVIS')  # also classes that the model does not know
    return [name for name in names if every or name in used]


def _check_classes(cfg: Config, reports: dict[str, AnnotationReport]) -> None:
    """Check that training has objects of all classes, and their number in the heads."""
    first = next(iter(reports.values()))
    trained = {
        name
        for split, report in reports.items()
        if split.startswith('train')
        for name in report.categories.values()
    }
    if trained and (missing := [name for name in first.model_names if name not in trained]):
        first.errors.add('categories', MISSING, f'{missing}; the file has {first.names}')
    for wrong in wrong_counts(cfg, len(first.model_names)):
        first.errors.add(
            'categories',
            'the number of classes is not that of the config: ',
            f'{len(first.model_names)}, but {wrong}',
        )
