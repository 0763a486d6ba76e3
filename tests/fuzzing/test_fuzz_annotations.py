"""Annotations and lists of any content: they are read, or refused in words."""

import json

import annotation_sources as sources
import pytest
from fuzzing.mutations import changed, damaged, works_or_says_why
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lomar.annotations import import_annotations, object_statistics, split_coco
from lomar.annotations.formats import FORMATS
from lomar.classification.labelled_images import read_labelled
from lomar.datasets.unlabelled import list_images
from lomar.detection import check_coco

SETTINGS = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
RLE = dict(size=[30, 40], counts=[0, 5, 1195])
COCO = dict(
    info=dict(year=2020),
    images=[
        dict(id=1, file_name='a.jpg', width=40, height=30),
        dict(id=2, file_name='b.jpg', width=40, height=30),
    ],
    annotations=[
        dict(id=1, image_id=1, category_id=3, bbox=[2, 3, 9, 9], area=81, iscrowd=0),
        dict(
            **dict(id=2, image_id=2, category_id=3, bbox=[2, 3, 9, 9], area=81, iscrowd=0),
            segmentation=[[2, 3, 11, 3, 11, 12]],
        ),
        dict(
            **dict(id=3, image_id=2, category_id=5, bbox=[0, 0, 1, 5], area=5, iscrowd=1),
            segmentation=RLE,
        ),
    ],
    categories=[dict(id=3, name='cat'), dict(id=5, name='dog')],
)


def check(file, images):
    for masks in (False, True):
        works_or_says_why(check_coco, str(file), str(images), masks)
    works_or_says_why(check_coco, str(file), str(images), True, training=False)
    works_or_says_why(object_statistics, file)
    works_or_says_why(split_coco, file, (0.5, 0.5))


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('images')
    for name in 'ab':
        sources.write_image(folder / f'{name}.jpg')
    return folder


@SETTINGS
@given(tree=changed(COCO))
def test_coco_files_of_any_values(tmp_path, images, tree):
    file = sources.write_text(tmp_path / 'a.json', json.dumps(tree))
    check(file, images)


@SETTINGS
@given(data=damaged(json.dumps(COCO).encode()))
def test_damaged_coco_files(tmp_path, images, data):
    check(sources.write_text(tmp_path / 'a.json', data), images)


SHAPES = [
    dict(label='cell', points=[[2, 3], [12, 13]], shape_type='rectangle', flags={}),
    dict(label='cell', points=[[2, 3], [12, 3], [12, 13]], shape_type='polygon', group_id=None),
]
CVAT = (
    '<polygon label="cell" occluded="1" points="2,3;12,3;12,13"/><box label="cell" xtl="2" '
    'ytl="3" xbr="12" ybr="13" rotation="20"/><mask label="cell" left="2" top="3" width="2" '
    'height="2" rle="1,3"/>'
)
WRITERS = dict(
    voc=(sources.voc, 'Annotations/a.xml'),
    yolo=(sources.yolo, 'labels/train/a.txt'),
    yolo_names=(sources.yolo, 'data.yaml'),
    kitti=(sources.kitti, 'label_2/a.txt'),
    cvat=(lambda folder: sources.cvat(folder, CVAT), 'annotations.xml'),
    labelme=(lambda folder: sources.labelme(folder, SHAPES), 'a.json'),
    labelbox=(sources.labelbox, 'export.ndjson'),
    lightly=(sources.lightly, 'labels/a.json'),
    lightly_schema=(sources.lightly, 'labels/schema.json'),
)


def imported(format, source, file):
    """Import, and check what comes out, which must pass our own checks."""
    images = str(source if format == 'labelme' else file.parents[0] / 'images')
    options = dict(images=images) if format in ('labelme', 'labelbox') else {}
    result = works_or_says_why(import_annotations, format, source, **options)
    if result is not None:
        coco, report, folder = result
        if report.errors.kinds or not coco['annotations']:
            return
        file = sources.write_text(file.parent / 'out/coco.json', json.dumps(coco))
        found = works_or_says_why(check_coco, str(file), str(folder), False, training=False)
        assert found is not None and not found.errors.kinds, found.errors.kinds


@pytest.mark.parametrize('name', WRITERS)
@SETTINGS
@given(data=st.data())
def test_damaged_sources(tmp_path, name, data):
    write, damaged_file = WRITERS[name]
    source = write(tmp_path)
    path = tmp_path / damaged_file
    path.write_bytes(data.draw(damaged(path.read_bytes())))
    imported(name.partition('_')[0], source, tmp_path / 'a')


TREES = {name: WRITERS[name] for name in ('labelme', 'labelbox', 'lightly', 'lightly_schema')}


@pytest.mark.parametrize('name', TREES)
@SETTINGS
@given(data=st.data())
def test_sources_of_any_values(tmp_path, name, data):
    write, file = TREES[name]
    source = write(tmp_path)
    path = tmp_path / file
    path.write_text(json.dumps(data.draw(changed(json.loads(path.read_text())))) + '\n')
    imported(name.partition('_')[0], source, tmp_path / 'a')


def test_every_format_is_tried():
    assert {name.partition('_')[0] for name in WRITERS} | {'masks'} == set(FORMATS)


LINES = st.lists(
    st.sampled_from(
        [
            *('a.jpg', 'b.jpg 1', 'b.jpg cat', './a.jpg', '#a', '# a.jpg', '', '  ', '"a.jpg"'),
            *('a.jpg,1', '../../../etc/passwd', '\0', 'é.jpg', 'a.jpg\r', 'a' * 5000, '\ufeff'),
        ]
    ),
    max_size=5,
)


@SETTINGS
@given(lines=LINES, code=st.sampled_from(['utf-8', 'utf-16', 'utf-16-le', 'latin-1', 'utf-32']))
def test_lists_of_any_lines(tmp_path, lines, code):
    for name in 'ab':
        sources.write_image(tmp_path / f'{name}.jpg')
    text = '\n'.join(lines).encode(code, errors='replace')
    file = sources.write_text(tmp_path / 'list.txt', text)
    works_or_says_why(list_images, file)
    works_or_says_why(read_labelled, file)


@SETTINGS
@given(data=st.binary(max_size=300))
def test_lists_of_any_bytes(tmp_path, data):
    file = sources.write_text(tmp_path / 'list.txt', data)
    works_or_says_why(list_images, file)
    works_or_says_why(read_labelled, file)
