"""Annotation files without an object to train on or to evaluate: the cause, and what to do."""

from collections import Counter

from lomar.detection.annotation_report import AnnotationReport
from lomar.detection.annotation_rules import (
    FRACTIONS,
    MASK,
    MISSING_MASK,
    NO_MASK,
    OUTSIDE,
    SMALL,
)

OTHER_CLASS, CROWD = 'other class', 'crowd'
CROWD_ADVICE = (
    'iscrowd: 1 marks a region to ignore; set it to 0 where the annotation is one object (exports '
    'of masks as RLE often set 1)'
)
# By the reason for which annotations are left out: what they have, and what to do.
CAUSES = {
    FRACTIONS: (
        'have a box in fractions of the image',
        'boxes are [x, y, width, height] in pixels, not fractions: multiply x and width by the '
        'width of the image, y and height by its height',
    ),
    SMALL: (
        'have a box less than one pixel wide or high',
        'boxes are [x, y, width, height] in pixels',
    ),
    OUTSIDE: (
        'have a box outside of their image',
        'boxes are [x, y, width, height] in pixels of the image file, without any resizing',
    ),
    MASK: (
        'have a segmentation without a pixel in the image',
        'polygons are [x1, y1, x2, y2, x3, y3, ...] in pixels, not fractions',
    ),
    CROWD: ('are crowds', CROWD_ADVICE),
    NO_MASK: ('have an empty segmentation, such as [[]]', 'for boxes without masks, {boxes_only}'),
    MISSING_MASK: ('have no segmentation', 'for boxes without masks, {boxes_only}'),
    OTHER_CLASS: ('are of classes that the config leaves out', 'metainfo.classes is {classes}'),
}


def add_missing_objects(report: AnnotationReport) -> bool:
    """Add the cause to a report without objects; return whether it has none.

    A file to train on has an error. So has a file to evaluate masks on that has boxes only. Another
    file to evaluate has a loud note: a detector can predict on the images, and there is no AP.
    """
    objects = sum(report.instances().values())
    if objects > report.maskless or set(report.errors.kinds) - {MISSING_MASK}:
        return False
    missing = report.errors.kinds.pop(MISSING_MASK, None)  # one message in place of an entry's
    if not report.images:
        report.errors.add('images', 'the list is empty')
    elif report.training:
        report.errors.add('annotations', 'there is nothing to train on: ', _cause(report))
    elif objects or missing:
        report.errors.add('annotations', 'there are no masks to evaluate: ', _cause(report))
    else:
        report.no_ap = _cause(report)
        report.notes.add('annotations', 'there is no AP: ', report.no_ap, loud=True)
    return True


def boxes_only(report: AnnotationReport) -> str:
    """Return what to do with a file without masks."""
    if report.training:
        return (
            'use a faster-rcnn config, or with_mask=False in the training pipeline of a detector '
            'without masks'
        )
    return 'set metric=bbox in val_evaluator and test_evaluator'


def _cause(report: AnnotationReport) -> str:
    """Return why no annotation is an object, and what to do."""
    if not report.categories:
        return "the list 'categories' is empty"
    if not report.annotations:
        advice = '; name an annotated file with --train-ann' if report.training else ''
        return f'none of the {len(report.images)} images has an annotation{advice}'
    counts = report.left_out + Counter({CROWD: sum(report.crowds.values())})
    values = dict(boxes_only=boxes_only(report), classes=list(report.classes or ()))
    causes = []
    for reason, count in counts.most_common():
        what, advice = CAUSES[reason]
        number = f'all {count}' if count == report.annotations else f'{count}'
        causes.append(f'{number} annotations {what}; {advice.format(**values)}')
    return '. '.join(causes)
