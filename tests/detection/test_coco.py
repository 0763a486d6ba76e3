"""COCO files as people have them: each fault gets its one message, with the file and the entry."""

import json
import math
import re

import numpy as np
import pytest
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from pycocotools import mask as rle

from lomar.detection import check_coco, read_coco
from lomar.detection.annotation_rules import evaluation_object

WIDTH, HEIGHT = 40, 30
CLASSES = ('bolt', 'ring', 'nut')  # ids 1, 3 and 9


def square(left, top, side):
    right, bottom = left + side, top + side
    return [left, top, right, top, right, bottom, left, bottom]


def annotation(number, image, category, left, side):
    return dict(
        id=number,
        image_id=image,
        category_id=category,
        bbox=[left, 5, side, side],
        area=side * side,
        iscrowd=0,
        segmentation=[square(left, 5, side)],
    )


def valid():
    """Three images; the first has two objects, which most cases change."""
    return dict(
        images=[
            dict(id=number, file_name=f'{number}.png', width=WIDTH, height=HEIGHT)
            for number in (10, 20, 30)
        ],
        categories=[dict(id=number, name=name) for number, name in ((3, 'ring'), (1, 'bolt'))]
        + [dict(id=9, name='nut')],
        annotations=[
            annotation(100, 10, 1, 2, 8),
            annotation(101, 10, 3, 20, 10),
            annotation(102, 20, 9, 4, 6),
            annotation(103, 30, 1, 6, 12),
        ],
    )


def write(folder, coco, name='train.json'):
    """Write annotations and their images; returns the path of the former."""
    for number in (10, 20, 30):
        Image.new('RGB', (WIDTH, HEIGHT), 'grey').save(folder / f'{number}.png')
    path = folder / name
    path.write_text(coco if isinstance(coco, str) else json.dumps(coco))
    return str(path)


def changed(change):
    coco = valid()
    change(coco)
    return coco


def dataset(path, folder, masks=True, **kwargs):
    init_default_scope('mmdet')
    pipeline = [
        dict(type='LoadImage'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=masks),
        dict(type='PackDetInputs'),
    ]
    return DATASETS.build(
        dict(
            type='CocoFiles',
            ann_file=path,
            data_prefix=dict(img=str(folder)),
            pipeline=pipeline,
            serialize_data=False,  # collects garbage, for half a second
            **kwargs,
        )
    )


def second(**values):
    """A change of annotations[1], on the first image; None deletes a key."""

    def change(coco):
        one = coco['annotations'][1]
        for key, value in values.items():
            one.pop(key) if value is None else one.update({key: value})

    return change


def rle_of(left, side, height=HEIGHT, width=WIDTH):
    mask = np.zeros((height, width), dtype=np.uint8, order='F')
    mask[5 : 5 + side, left : left + side] = 1
    found = rle.encode(mask)
    return dict(size=found['size'], counts=found['counts'].decode())


UNREADABLE = {
    'not json': ('{"images": [', 'this is no json'),
    'a list': ('[]', "no list 'images'; .* found list"),
    'predictions': (json.dumps(dict(images=[], detections=[])), "no list 'annotations'; .*found"),
    'nameless category': (
        json.dumps(dict(images=[], annotations=[], categories=[dict(id=1)])),
        r'categories\[0\]: needs an integer id and a name',
    ),
}


@pytest.mark.parametrize('name', UNREADABLE)
def test_what_is_no_coco_file(tmp_path, name):
    text, message = UNREADABLE[name]
    with pytest.raises(ValueError, match=rf'{tmp_path}/train.json: {message}'):
        read_coco(write(tmp_path, text))


def test_missing_places_say_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'(?s)none.json.*--train-ann.*lomar shapes'):
        check_coco(tmp_path / 'none.json', tmp_path, masks=True)
    with pytest.raises(FileNotFoundError, match=r'does not exist\.\nA dataset is a COCO json file'):
        dataset(str(tmp_path / 'none.json'), tmp_path)
    with pytest.raises(FileNotFoundError, match=r'(?s)nowhere is no folder.*--train-images'):
        check_coco(write(tmp_path, valid()), tmp_path / 'nowhere', masks=True)


# Of images[1], categories[1] and annotations[1] unless the message says otherwise.
IMAGE, CATEGORY, ANNOTATION = (
    rf'{name}\[1\] \(id {number}\): '
    for name, number in (('images', 20), ('categories', 1), ('annotations', 101))
)
FAULTS = {
    'image id twice': (
        lambda c: c['images'].append(dict(c['images'][0])),
        r'images\[3\] \(id 10\): has the id of images\[0\]',
    ),
    'annotation id twice': (
        second(id=100),
        r'annotations\[1\] \(id 100\): has the id of annotations\[0\]',
    ),
    'category id twice': (
        lambda c: c['categories'].append(dict(id=9, name='gear')),
        r'categories\[3\] \(id 9\): has the id of categories\[2\]',
    ),
    'category name twice': (
        lambda c: c['categories'].append(dict(id=10, name='ring')),
        r"categories\[3\] \(id 10\): has the name of categories\[0\] \(id 3\), 'ring'",
    ),
    'no id': (second(id=None), r'annotations\[1\]: needs an id'),
    'not an object': (lambda c: c['annotations'].append(7), r'annotations\[4\]: needs an id'),
    'ids of two types': (
        lambda c: c['images'].append(dict(c['images'][0], id='40')),
        'images: some ids are integers and some are text',
    ),
    'crowd as text': (second(iscrowd='0'), ANNOTATION + r"iscrowd and ignore .* \('0', None\)"),
    'image id as text': (second(image_id='10'), ANNOTATION + "is on no image of .* image_id '10'$"),
    'category id as float': (second(category_id=1.0), ANNOTATION + 'is of no category .* 1.0$'),
    'unknown image': (second(image_id=99), ANNOTATION + 'is on no image of the file, .* 99'),
    'unknown category': (second(category_id=2), ANNOTATION + 'is of no category .* 2'),
    'no file name': (lambda c: c['images'][1].pop('file_name'), IMAGE + 'has no file_name'),
    'no width': (lambda c: c['images'][1].pop('width'), IMAGE + 'needs width and height'),
    'missing file': (
        lambda c: c['images'][1].update(file_name='x/20.png'),
        IMAGE + 'there is no file .*/x/20.png; the folder of images has 20.png, and file_name must',
    ),
    'backslashes': (
        lambda c: c['images'][1].update(file_name=r'.\20.png'),
        IMAGE
        + r'there is no file .*; file_name has backslashes, and the file is ./20.png; allowed',
    ),
    'missing everywhere': (
        lambda c: c['images'][1].update(file_name='x/40.png'),
        IMAGE + 'there is no file .*/x/40.png$',
    ),
    'resized images': (
        lambda c: c['images'][1].update(width=HEIGHT, height=WIDTH),
        IMAGE + 'width and height .* 30 x 40, but it is 40 x 30: .*/20.png',
    ),
    'box of three': (second(bbox=[1, 2, 3]), ANNOTATION + r'bbox is not four finite .* \[1, 2, 3'),
    'box not finite': (second(bbox=[1, 2, 3, math.nan]), ANNOTATION + 'bbox is not four finite'),
    'no box': (second(bbox=None), ANNOTATION + 'bbox is not four finite numbers: None'),
    'boxes only': (second(segmentation=None), ANNOTATION + '.*use a faster-rcnn config, or with_'),
    'empty segmentation': (second(segmentation=[]), ANNOTATION + '.*use a faster-rcnn config'),
    'flat polygon': (
        second(segmentation=square(20, 5, 10)),
        ANNOTATION + r'segmentation is no list of polygons and no RLE: \[20, 5',
    ),
    'polygon of points': (
        second(segmentation=[[[20, 5], [30, 5], [30, 15]]]),
        ANNOTATION + 'segmentation has polygons not of numbers',
    ),
    'RLE of another image': (
        second(segmentation=rle_of(20, 10, WIDTH, HEIGHT)),
        ANNOTATION + r'the size of the RLE .* \[40, 30\], the image has \[30, 40\]',
    ),
    'RLE that ends early': (
        second(segmentation=dict(size=[HEIGHT, WIDTH], counts=[5, 10])),
        ANNOTATION + 'the counts of the RLE do not add up to the image: 15 of 1200',
    ),
    'RLE of rubbish': (
        second(segmentation=dict(size=[HEIGHT, WIDTH], counts='\u20ac')),
        ANNOTATION + 'the counts of the RLE are neither',
    ),
}


@pytest.mark.parametrize('name', FAULTS)
def test_a_fault_gets_one_message(tmp_path, name):
    change, message = FAULTS[name]
    path = write(tmp_path, changed(change))
    (line,) = check_coco(path, str(tmp_path), masks=True).errors.lines()
    assert re.match(f'{path}: {message}', line)
    with pytest.raises(ValueError) as raised:
        dataset(path, tmp_path)
    assert line in str(raised.value)


def test_all_faults_come_at_once_with_a_few_examples_each(tmp_path):
    coco = valid()
    coco['images'][0].update(file_name='gone.png')
    coco['annotations'] = [annotation(n, 99, 1, 2, 8) for n in range(20)]
    with pytest.raises(ValueError) as raised:
        dataset(write(tmp_path, coco), tmp_path)
    text = str(raised.value)
    assert 'gone.png' in text
    assert len(re.findall(r'image_id 99', text)) == 3
    assert 'train.json: and 17 more: is on no image' in text


@pytest.mark.parametrize(('width', 'height', 'fits'), [(20, 30, True), (30, 20, False)])
def test_sizes_are_those_of_the_upright_image(tmp_path, width, height, fits):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new('RGB', (30, 20)).save(tmp_path / 'turned.jpg', exif=exif)
    size = dict(file_name='turned.jpg', width=width, height=height)
    path = write(tmp_path, changed(lambda c: c['images'][1].update(size)))
    lines = check_coco(path, str(tmp_path), masks=True).errors.lines()
    assert not lines if fits else 'is 20 x 30 upright, by its EXIF orientation' in lines[0]


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (
            ('bolt', 'screw'),
            r"classes of the config are missing: \['screw'\]; the file has .*'nut'",
        ),
        (('ring', 'gear'), r"classes of the config are missing: \['gear'\]"),
        ('bolt', r"a list of different names, such as \[cat,dog\] or \[cat\], got 'bolt'"),
        (('bolt', 'bolt'), r"a list of different names, .*, got \('bolt', 'bolt'\)"),
    ],
)
def test_wrong_class_names(tmp_path, classes, message):
    with pytest.raises(
        ValueError, match=f'(train.json: categories: |metainfo.classes ).*{message}'
    ):
        dataset(write(tmp_path, valid()), tmp_path, metainfo=dict(classes=classes))


def test_area_is_that_of_pycocotools():
    rng = np.random.default_rng(0)
    for number in range(60):
        height, width = (int(side) for side in rng.integers(1, 300, 2))
        image = dict(id=1, height=height, width=width)
        mask = np.asfortranarray(rng.random((height, width)) < rng.random(), dtype=np.uint8)
        mask[: height // 2] = number % 2  # long runs, too
        mask[0, 0] = 1
        found = rle.encode(mask)
        whole = dict(annotation(1, 1, 1, 0, 1), bbox=[0, 0, width, height], area=None)
        whole['segmentation'] = dict(size=found['size'], counts=found['counts'].decode())
        assert (
            evaluation_object(whole, image, masks=True)[0]['area'] == mask.sum() == rle.area(found)
        )
        points = (rng.random((2, 10)) * [[width], [height]]).T.ravel().tolist()
        whole['segmentation'] = [points, square(0, 0, min(height, width))]
        both = rle.merge(rle.frPyObjects(whole['segmentation'], height, width))
        assert evaluation_object(whole, image, masks=True)[0]['area'] == rle.area(both)
