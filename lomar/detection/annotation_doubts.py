"""Findings in annotation files that are perhaps mistakes: notes, on which no run stops."""

from lomar.detection.annotation_report import AnnotationReport
from lomar.detection.missing_objects import CROWD_ADVICE


class CornerBoxes:
    """Detection of boxes given as [x1, y1, x2, y2] instead of COCO's [x, y, w, h]."""

    def __init__(self, report: AnnotationReport):
        self.report, self.number, self.fits = report, 0, 0
        self.beyond: dict = {}  # by image

    def add(self, annotation: dict) -> None:
        """Add the box of an annotation that is used."""
        image = self.report.images[annotation['image_id']]
        width, height, (x, y, w, h) = image['width'], image['height'], annotation['bbox']
        self.number += 1
        self.fits += x < w <= width + 1 and y < h <= height + 1
        if x < -1 or y < -1 or x + w > width + 1 or y + h > height + 1:
            found = f'annotations, id {annotation["id"]}', annotation['bbox']
            self.beyond.setdefault(annotation['image_id'], []).append(found)

    def finish(self) -> None:
        """Add the findings to the report, image by image."""
        beyond = [one for image_id in self.report.objects for one in self.beyond.get(image_id, ())]
        for where, box in beyond:
            self.report.notes.add(where, 'its box reaches out of the image', f', {box}')
        if self.fits == self.number >= 10 and len(beyond) * 10 > self.number:
            self.report.notes.add(
                'annotations',
                'bbox looks like [x, y, x2, y2], should be [x, y, width, height]: ',
                f'read as widths, {len(beyond)} of {self.number} boxes reach out of their images; '
                'if they are corners, replace x2 by x2 - x and y2 by y2 - y',
                loud=True,
            )


def add_crowds(report: AnnotationReport) -> None:
    """Add a note for every class without objects, and one if most annotations are crowds.

    They are loud where crowds are the cause, which trainings leave out.
    """
    objects = report.instances()
    for key, name in report.categories.items():
        if not objects[name]:
            crowds = report.crowds[key]
            why = f' ({crowds} crowds: {CROWD_ADVICE})' if crowds else ''
            what = 'a class has no objects: '
            report.notes.add('categories', what, f'{name}{why}', loud=bool(crowds))
    crowds, number = sum(report.crowds.values()), sum(objects.values())
    if crowds > number:
        what = f'{crowds} of {crowds + number}; {CROWD_ADVICE}'
        report.notes.add('annotations', 'most are crowds: ', what, loud=True)
