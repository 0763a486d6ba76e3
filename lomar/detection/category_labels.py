"""Labels of the categories in an annotation file: those of the model's classes, by name."""

from collections import Counter

from lomar.datasets.class_names import enumerated, unknown_classes
from lomar.detection.annotation_report import AnnotationReport

MISSING = 'classes of the config are missing: '


def choose_categories(report: AnnotationReport, categories: list[dict]) -> None:
    """Set the categories of a report that are used, in the order of the model's labels.

    Args:
        categories: of the file, with different names.
    """
    chosen, model = report.classes, report.model_classes
    by_id = sorted(categories, key=lambda one: one['id'])
    names = report.names = tuple(one['name'] for one in by_id)
    report.listed = tuple(one['name'] for one in categories)
    report.model_names = tuple(model or chosen or names)
    used = [one for one in by_id if chosen is None or one['name'] in chosen]
    known = [one for one in used if one['name'] in report.model_names]
    known.sort(key=lambda one: report.model_names.index(one['name']))
    report.categories = {one['id']: one['name'] for one in known}
    report.unknown = {one['id']: one['name'] for one in used if one not in known}

    if not names and not report.training:
        ids = f'1 to {len(report.model_names)} for {enumerated(report.model_names)}'
        if report.model_names:
            report.notes.add('categories', 'the list is empty; detections get category ids: ', ids)
        else:
            report.errors.add('categories', 'the list is empty, and the model has no class names')
    missing = [name for name in chosen or () if name not in names]
    if missing and (model is None or not used):
        report.errors.add(
            'categories', MISSING, f'{missing}; the file has {names}; metainfo=None uses all'
        )
    if chosen and (problem := unknown_classes(chosen, report.model_names)):
        report.errors.add('metainfo.classes', problem)
    if twice := [name for name in names if list(model or ()).count(name) > 1]:
        report.errors.add('categories', 'the model has a class more than once: ', enumerated(twice))
    if absent := [name for name in report.model_names if name not in names and names]:
        report.notes.add('categories', 'the file lacks classes of the model: ', enumerated(absent))


def add_unknown(report: AnnotationReport, objects: Counter) -> None:
    """Add the classes that the model does not know: an error, or a note if they have no objects.

    Args:
        objects: number of annotations by category id of `report.unknown`.
    """
    if not report.unknown:
        return
    if objects or not report.categories:
        names = [*report.categories.values(), *report.unknown.values()]
        advice = (
            f'; {objects.total()} objects are of unknown classes; to leave them out, name the '
            'classes to use: --cfg-options test_dataloader.dataset.metainfo.classes=[...], or '
            'val_dataloader or train_dataloader in a training'
        )
        if report.to_predict:
            advice = "; to predict, leave the list 'categories' empty: the ids are then 1 to N"
        report.errors.add('categories', unknown_classes(names, report.model_names), advice)
    else:
        names = list(report.unknown.values())
        report.notes.add(
            'categories',
            'classes without objects that the model does not know: ',
            enumerated(names),
        )
