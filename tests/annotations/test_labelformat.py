"""Our readers beside labelformat's: the same boxes, and the reasons to have our own."""

import pytest
from annotation_sources import SIZE, voc, voc_object, yolo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lomar.annotations import import_annotations

CLASSES = ('cell', 'tissue')
FRACTIONS = st.floats(0.03, 0.97)
BOXES = st.lists(
    st.tuples(st.sampled_from(CLASSES), FRACTIONS, FRACTIONS, FRACTIONS, FRACTIONS), max_size=5
)
QUICK = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def objects_of(boxes):
    """Return labelformat's objects, with corners two pixels or more apart."""
    from labelformat.model.bounding_box import BoundingBox
    from labelformat.model.category import Category
    from labelformat.model.object_detection import SingleObjectDetection

    found = []
    for name, x, y, x2, y2 in boxes:
        category = Category(CLASSES.index(name), name)
        left, top = min(x, x2) * (SIZE[0] - 3), min(y, y2) * (SIZE[1] - 3)
        right, bottom = max(x, x2) * (SIZE[0] - 3) + 2, max(y, y2) * (SIZE[1] - 3) + 2
        found.append(SingleObjectDetection(category, BoundingBox(left, top, right, bottom)))
    return found


def written_by_labelformat(objects):
    from labelformat.formats.labelformat import LabelformatObjectDetectionInput
    from labelformat.model.category import Category
    from labelformat.model.image import Image
    from labelformat.model.object_detection import ImageObjectDetection

    image, classes = Image(0, 'a.jpg', *SIZE), [Category(*each) for each in enumerate(CLASSES)]
    return LabelformatObjectDetectionInput(classes, [image], [ImageObjectDetection(image, objects)])


def check(coco, objects):
    expected = [
        (one.category.name, [b.xmin, b.ymin, b.xmax - b.xmin, b.ymax - b.ymin])
        for one in objects
        if (b := one.box)
    ]
    names = {one['id']: one['name'] for one in coco['categories']}
    for one, (name, box) in zip(coco['annotations'], expected, strict=True):
        assert names[one['category_id']] == name and one['bbox'] == pytest.approx(box, abs=2e-3)


@QUICK
@given(boxes=BOXES)
def test_voc_written_by_labelformat(boxes, tmp_path):
    """labelformat's corners are coordinates from 0: --first-pixel 0."""
    from labelformat.formats import PascalVOCObjectDetectionOutput

    objects = objects_of(dict.fromkeys(boxes))
    voc(tmp_path)
    PascalVOCObjectDetectionOutput(tmp_path / 'Annotations').save(written_by_labelformat(objects))
    coco, report, _ = import_annotations('voc', tmp_path, first_pixel=0)
    assert not report.errors.kinds and not report.notes.kinds
    check(coco, objects)


@QUICK
@given(boxes=BOXES)
def test_yolo_written_by_labelformat(boxes, tmp_path):
    from labelformat.formats import YOLOv8ObjectDetectionOutput

    objects = objects_of(dict.fromkeys(boxes))
    yolo(tmp_path)
    writer = YOLOv8ObjectDetectionOutput(tmp_path / 'data.yaml', 'train')
    writer.save(written_by_labelformat(objects))
    (tmp_path / 'labels/train/a.txt').write_bytes((tmp_path / 'labels/a.txt').read_bytes())
    (tmp_path / 'labels/a.txt').unlink()
    coco, report, _ = import_annotations('yolo', tmp_path / 'data.yaml')
    assert not report.errors.kinds and not report.notes.kinds
    check(coco, objects)


def test_labelformat_loses_what_ours_reports(tmp_path):
    """If a newer labelformat fails here, its readers may replace ours (docs/annotations.md)."""
    from labelformat import formats
    from labelformat.model.bounding_box import BoundingBox

    path = yolo(tmp_path / 'yolo', '0 0.5 0.5 0.5 0.5\n0 0.5 x 0.5 0.5\n')
    (found,) = formats.YOLOv8ObjectDetectionInput(path, 'train').get_labels()
    assert len(found.objects) == 1  # the other line is a message in the log
    path = yolo(tmp_path / 'mixed', '0 0.5 0.5 0.5 0.5\n')
    (found,) = formats.YOLOv8InstanceSegmentationInput(path, 'train').get_labels()
    assert len(found.objects[0].segmentation.polygons[0]) == 2  # a box becomes two points
    path = voc(tmp_path / 'voc', voc_object(extra='<difficult>1</difficult>'))
    (found,) = formats.PascalVOCObjectDetectionInput(path / 'Annotations', 'cell').get_labels()
    assert vars(found.objects[0]).keys() == {'category', 'box', 'confidence'}  # not `difficult`
    assert found.objects[0].box == BoundingBox(2, 3, 11, 12)  # 1-based pixels as coordinates
