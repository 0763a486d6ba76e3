"""Files in which nothing can be trained on or evaluated: one message per cause, and what to do."""

import pytest
from test_coco import changed, dataset, rle_of, valid, write

from lomar.cli import main
from lomar.detection import check_coco

FRACTIONS = [[0.1, 0.1, 0.5, 0.1, 0.5, 0.5]]


def each(**values):
    """A change of all annotations; None deletes a key."""

    def change(coco):
        for one in coco['annotations']:
            for key, value in values.items():
                one.pop(key) if value is None else one.update({key: value})

    return change


def halves(coco):
    for number, one in enumerate(coco['annotations']):
        one.update(dict(iscrowd=1) if number else dict(bbox=[0, 0, 0, 5]))


# A change, the cause, and what else the message says to do.
CAUSES = {
    'crowds': (each(iscrowd=1), 'all 4 annotations are crowds', 'set it to 0'),
    'RLE crowds, as of CVAT': (
        each(iscrowd=1, segmentation=rle_of(4, 6)),
        'all 4 annotations are crowds',
        'exports of masks as RLE',
    ),
    'ignored': (each(ignore=1), 'all 4 annotations are crowds', 'set it to 0'),
    'empty list of polygons': (
        each(segmentation=[[]]),
        'all 4 annotations have an empty segmentation, such as [[]]',
        'use a faster-rcnn config',
    ),
    'no masks': (each(segmentation=None), 'all 4 annotations have no segmentation', 'faster-rcnn'),
    'empty masks': (each(segmentation=[]), 'all 4 annotations have no segmentation', 'faster-rcnn'),
    'masks without pixels': (
        each(segmentation=rle_of(4, 0)),
        'all 4 annotations have a segmentation without a pixel',
        '[x1, y1, x2, y2, x3, y3, ...]',
    ),
    'masks in fractions': (
        each(segmentation=FRACTIONS),
        'all 4 annotations have a segmentation without a pixel',
        'not fractions',
    ),
    'no annotations': (
        lambda coco: coco.update(annotations=[]),
        'none of the 3 images has an annotation',
        '--train-ann',
    ),
    'no categories': (
        lambda coco: coco.update(annotations=[], categories=[]),
        "the list 'categories' is empty",
        '',
    ),
    'boxes without area': (
        each(bbox=[5, 5, 0, 9]),
        'all 4 annotations have a box less than one pixel',
        '[x, y, width, height]',
    ),
    'boxes turned round': (
        each(bbox=[9, 9, -5, -5]),
        'all 4 annotations have a box less than one pixel',
        '[x, y, width, height]',
    ),
    'boxes outside': (
        each(bbox=[100, 100, 9, 9]),
        'all 4 annotations have a box outside of their image',
        'in pixels of the image file',
    ),
    'boxes in fractions': (
        each(bbox=[0.1, 0.1, 0.5, 0.5]),
        'all 4 annotations have a box in fractions',
        'multiply x and width',
    ),
    'boxes of whole images in fractions': (
        each(bbox=[0, 0, 1, 1]),
        'all 4 annotations have a box in fractions',
        'multiply x and width',
    ),
    'several causes': (halves, '3 annotations are crowds', '1 annotations have a box less than'),
}


@pytest.mark.parametrize('name', CAUSES)
def test_the_one_error_names_the_cause_and_what_to_do(tmp_path, name):
    change, cause, advice = CAUSES[name]
    path = write(tmp_path, changed(change))
    (line,) = check_coco(path, str(tmp_path), masks=True).errors.lines()
    assert line.startswith(f'{path}: annotations: there is nothing to train on: {cause}')
    assert advice in line
    with pytest.raises(ValueError) as raised:
        dataset(path, tmp_path)
    assert str(raised.value).endswith(f'\n{line}')


def test_no_images(tmp_path):
    path = write(tmp_path, dict(valid(), images=[], annotations=[]))
    for training in (True, False):
        errors = check_coco(path, str(tmp_path), masks=True, training=training).errors
        assert errors.lines() == [f'{path}: images: the list is empty']


def test_classes_that_leave_no_object(tmp_path):
    def only_bolts(coco):
        coco['annotations'] = [one for one in coco['annotations'] if one['category_id'] == 1]

    path = write(tmp_path, changed(only_bolts))
    (line,) = check_coco(path, str(tmp_path), True, ('ring', 'nut')).errors.lines()
    assert 'all 2 annotations are of classes that the config leaves out' in line
    assert "metainfo.classes is ['ring', 'nut']" in line


def test_another_error_is_not_hidden_by_a_cause(tmp_path):
    path = write(tmp_path, changed(each(image_id=99)))
    lines = check_coco(path, str(tmp_path), masks=True).errors.lines()
    assert 'is on no image of the file' in lines[0]
    assert not any('nothing to train on' in line for line in lines)


def test_a_filter_that_keeps_no_image(tmp_path):
    path = write(tmp_path, valid())
    with pytest.raises(ValueError, match=r"filter_cfg={'min_size': 99} keeps none of the 3 images"):
        dataset(path, tmp_path, filter_cfg=dict(min_size=99))


@pytest.mark.parametrize(
    ('number', 'note'),
    [
        (0, None),
        (1, None),
        (2, None),
        (3, 'annotations: most are crowds: 3 of 4; iscrowd: 1 marks a region to ignore; set it'),
    ],
)
def test_mostly_crowds_are_a_loud_note(tmp_path, number, note):
    coco = valid()
    for one in coco['annotations'][:number]:
        one['iscrowd'] = 1
    report = check_coco(write(tmp_path, coco), str(tmp_path), masks=True)
    assert not report.errors.lines()
    found = [line for line in report.notes.lines() if 'most are crowds' in line]
    assert len(found) == bool(note) and all(note in line for line in found)
    assert ('most are crowds: ' in report.notes.loud) == bool(note)


def test_a_class_of_crowds_is_a_loud_note(tmp_path):
    coco = valid()
    coco['annotations'][1]['iscrowd'] = 1
    notes = check_coco(write(tmp_path, coco), str(tmp_path), masks=True).notes
    assert any('has no objects: ring (1 crowds: iscrowd: 1 marks' in line for line in notes.lines())
    assert notes.loud == {'a class has no objects: '}


def test_the_command(tmp_path, capsys):
    write(tmp_path, valid(), 'val.json')
    path = write(tmp_path, changed(each(iscrowd=1)))
    flags = [f'--{split}-{what}' for split in ('train', 'val') for what in ('ann', 'images')]
    values = (path, str(tmp_path), str(tmp_path / 'val.json'), str(tmp_path))
    words = [word for pair in zip(flags, values, strict=True) for word in pair]
    config = 'detect/mask-rcnn_vitdet-b_scratch_lsj-12e_coco'
    assert main(['train', config, *words, '--dry-run']) == 1
    assert capsys.readouterr().err.splitlines() == [
        'lomar train: The annotations cannot be used:',
        f'{path}: annotations: there is nothing to train on: all 4 annotations are crowds; '
        'iscrowd: 1 marks a region to ignore; set it to 0 where the annotation is one object '
        '(exports of masks as RLE often set 1)',
    ]
