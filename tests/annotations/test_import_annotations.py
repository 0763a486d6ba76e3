"""`lomar import`: the boxes and masks of every format, in files that pass the check."""

import json
import os
import sys

import annotation_sources as sources
import numpy as np
import pytest
from annotation_sources import HEIGHT, SIZE, WIDTH, voc_object, write_image, write_text
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as rle

from lomar.annotations import import_annotations
from lomar.cli import main
from lomar.detection import check_coco, read_coco

SQUARE = [2, 3, 12, 3, 12, 13, 2, 13]  # 10 pixels wide and high
BLOCK = np.zeros((HEIGHT, WIDTH), np.uint8)
BLOCK[3:13, 2:12] = 1
BOX = [2, 3, 10, 10]
CVAT_RUNS = ', '.join(['1, 10'] * 10)
KEYS = [f'{axis}{point}' for point in (1, 2, 3, 4) for axis in 'xy']
VOC_POINTS = ''.join(f'<{key}>{v}</{key}>' for key, v in zip(KEYS, SQUARE, strict=True))


def shape(kind='polygon', label='cell', points=((2, 3), (12, 3), (12, 13), (2, 13)), **more):
    return dict(shape_type=kind, label=label, points=points, **more)


def masks(folder, layout):
    write_image(folder / 'images/a.jpg')
    name = 'a/1.png' if layout == 'objects' else 'a.png'
    sources.mask(folder / 'masks' / name, BLOCK * (255 if layout == 'regions' else 7))
    return folder / 'masks'


# Format, writer of a source with one object at BOX, arguments, whether the object has a mask.
ONE_OBJECT = {
    'voc': ('voc', lambda d: sources.voc(d, voc_object(corners=(3, 4, 12, 13))), {}, False),
    'voc from 0': (
        'voc',
        lambda d: sources.voc(d, voc_object(corners=(2, 3, 12, 13))),
        dict(first_pixel=0),
        False,
    ),
    'voc polygon': (
        'voc',
        lambda d: sources.voc(
            d,
            voc_object(extra=f'<polygon>{VOC_POINTS}</polygon>'),
        ),
        {},
        True,
    ),
    'yolo': (
        'yolo',
        lambda d: sources.yolo(d, f'0 {7 / 40} {8 / 30} {10 / 40} {10 / 30}'),
        {},
        False,
    ),
    'yolo polygon': (
        'yolo',
        lambda d: sources.yolo(
            d, '0.0 ' + ' '.join(str(v / SIZE[i % 2]) for i, v in enumerate(SQUARE))
        ),
        {},
        True,
    ),
    'kitti': ('kitti', sources.kitti, {}, False),
    'cvat': ('cvat', sources.cvat, {}, False),
    'cvat polygon': (
        'cvat',
        lambda d: sources.cvat(d, '<polygon label="cell" points="2,3;12,3;12,13;2,13"/>'),
        {},
        True,
    ),
    'cvat rotated': (
        'cvat',
        lambda d: sources.cvat(
            d, '<box label="cell" xtl="2" ytl="3" xbr="12" ybr="13" rotation="90"/>'
        ),
        {},
        True,
    ),
    'cvat mask': (
        'cvat',
        lambda d: sources.cvat(
            d,
            f'<mask label="cell" left="1" top="3" width="11" height="10" rle="{CVAT_RUNS}"/>',
        ),
        {},
        True,
    ),
    'labelme': ('labelme', lambda d: sources.labelme(d, [shape()]), {}, True),
    'labelme box': (
        'labelme',
        lambda d: sources.labelme(d, [shape('rectangle', points=((12, 3), (2, 13)))]),
        {},
        False,
    ),
    'labelme circle': (
        'labelme',
        lambda d: sources.labelme(d, [shape('circle', points=((7, 8), (12, 8)))]),
        {},
        True,
    ),
    'masks ids': ('masks', lambda d: masks(d, 'ids'), dict(classes=['cell']), True),
    'masks objects': (
        'masks',
        lambda d: masks(d, 'objects'),
        dict(classes=['cell'], layout='objects'),
        True,
    ),
    'masks regions': (
        'masks',
        lambda d: masks(d, 'regions'),
        dict(classes=['cell'], layout='regions'),
        True,
    ),
    'labelbox': ('labelbox', sources.labelbox, {}, False),
    'lightly': ('lightly', sources.lightly, {}, False),
}


@pytest.mark.parametrize('case', ONE_OBJECT)
def test_one_object(case, tmp_path):
    """Every format gives the same box, and a file without errors and without notes."""
    name, write, options, masked = ONE_OBJECT[case]
    path = write(tmp_path)
    if name in ('masks', 'labelbox'):
        options = {**options, 'images': str(tmp_path / 'images')}
    coco, report, folder = import_annotations(name, path, **options)
    assert not report.errors.kinds and not report.notes.kinds
    (one,) = coco['annotations']
    assert one['bbox'] == pytest.approx(BOX, abs=0.01) and one['iscrowd'] == 0
    names = {each['id']: each['name'] for each in coco['categories']}
    assert names[one['category_id']] == ('Car' if name == 'kitti' else 'cell')
    assert ('segmentation' in one) is masked
    assert one['area'] == pytest.approx(78.5 if 'circle' in case else 100, rel=0.05)
    file = write_text(tmp_path / 'out.json', json.dumps(coco))
    checked = check_coco(file, folder, masks=masked)
    assert not checked.errors.kinds and sum(checked.instances().values()) == 1


def test_masks_are_kept_to_the_pixel(tmp_path):
    """Ids and classes by folder; objects in the order of their values."""
    write_image(tmp_path / 'images/x/a.jpg')
    two = np.zeros((HEIGHT, WIDTH), np.uint16)
    two[1:4, 5:9], two[10:20, 10:12] = 300, 40
    sources.mask(tmp_path / 'masks/b c/x/a.png', two)
    sources.mask(tmp_path / 'masks/a/x/a.png', BLOCK)
    coco, report, _ = import_annotations('masks', tmp_path / 'masks', str(tmp_path / 'images'))
    assert not report.errors.kinds
    assert [one['name'] for one in coco['categories']] == ['a', 'b c']
    found = [rle.decode(one['segmentation']) for one in coco['annotations']]
    for mask, expected in zip(found, (BLOCK, two == 40, two == 300), strict=True):
        np.testing.assert_array_equal(mask, expected)
    assert [one['area'] for one in coco['annotations']] == [100, 20, 12]


# An image, its mask and the options; the folder `cell` is that of the class, or of an image.
FOLDERS_OF_ONE_CLASS = {
    'class folder': ('images/a.jpg', 'masks/cell/a.png', {}),
    'class folder, objects': ('images/a.jpg', 'masks/cell/a/1.png', dict(layout='objects')),
    'folder of images': ('images/cell/a.jpg', 'masks/cell/a.png', {}),
    'name of an image': ('images/cell.jpg', 'masks/cell/1.png', dict(layout='objects')),
}


@pytest.mark.parametrize('name', FOLDERS_OF_ONE_CLASS)
def test_one_class_with_and_without_a_folder(name, tmp_path):
    image, mask, options = FOLDERS_OF_ONE_CLASS[name]
    write_image(tmp_path / image)
    sources.mask(tmp_path / mask, BLOCK)
    folders = tmp_path / 'masks', str(tmp_path / 'images')
    coco, report, _ = import_annotations('masks', *folders, ['cell'], **options)
    assert not report.errors.kinds
    (one,) = coco['annotations']
    np.testing.assert_array_equal(rle.decode(one['segmentation']), BLOCK)
    assert [each['name'] for each in coco['categories']] == ['cell']


@pytest.mark.parametrize('mode', ['L', 'RGB', 'RGBA', 'LA', '1', 'P', 'I;16'])
def test_kinds_of_masks(mode, tmp_path):
    """Channels may be equal; --void names a value that is no object."""
    write_image(tmp_path / 'images/a.jpg')
    ids = Image.fromarray(BLOCK)
    if mode == '1':
        ids = Image.fromarray(BLOCK > 0)
    elif mode == 'P':
        ids.putpalette([0, 0, 0, 90, 80, 70])
    elif mode != 'L':
        ids = ids.convert(mode)
    (tmp_path / 'masks').mkdir()
    ids.save(tmp_path / 'masks/a.png')
    arguments = ('masks', tmp_path / 'masks', str(tmp_path / 'images'), ['cell'])
    coco, report, _ = import_annotations(*arguments)
    assert not report.errors.kinds
    np.testing.assert_array_equal(rle.decode(coco['annotations'][0]['segmentation']), BLOCK)
    assert not import_annotations(*arguments, void=1)[0]['annotations']


def test_groups_of_labelme_are_one_object(tmp_path):
    other = [(20, 3), (25, 3), (25, 9)]
    shapes = [shape(group_id=1), shape(points=other, group_id=1), shape(points=other, group_id=2)]
    coco, _, _ = import_annotations('labelme', sources.labelme(tmp_path, shapes))
    assert [len(one['segmentation']) for one in coco['annotations']] == [2, 1]
    assert coco['annotations'][0]['bbox'] == [2, 3, 23, 10]


@pytest.mark.parametrize(
    ('folder', 'name'), [('labels', 'a.jpg'), ('labels', '../images/a.jpg'), ('images', 'a.jpg')]
)
def test_images_of_labelme(folder, name, tmp_path):
    sources.labelme(tmp_path / folder, [shape()], name)
    write_image(tmp_path / 'images/a.jpg')
    (tmp_path / 'labels/a.jpg').unlink(missing_ok=True)
    coco, report, _ = import_annotations('labelme', tmp_path / folder, str(tmp_path / 'images'))
    assert len(coco['annotations']) == 1 and not report.errors.kinds


def test_names_that_are_no_text(tmp_path):
    """Names of files in another encoding, also when the file is read again."""
    path = sources.voc(tmp_path)
    name = os.fsdecode(b'\xff.jpg')
    os.rename(write_image(tmp_path / 'JPEGImages/b.jpg'), tmp_path / 'JPEGImages' / name)
    out = tmp_path / 'out.json'
    assert main(['import', 'voc', str(path), str(out)]) == 0
    assert [one['file_name'] for one in read_coco(out)['images']] == ['a.jpg', name]


def test_boxes_beside_polygons(tmp_path):
    path = sources.labelme(tmp_path, [shape(), shape('rectangle', points=((2, 2), (9, 9)))])
    _, report, _ = import_annotations('labelme', path)
    expected = f'{path}: annotations without a mask, which Mask R-CNN needs: 1 of 2'
    assert expected in report.note_lines()[1]


# What the notes say, by format, source and arguments; and the number of annotations that are left.
NOTES = {
    'clipped': (sources.voc, voc_object(corners=(30, 20, 45, 25)), {}, 'is clipped: [29', 1),
    'outside': (sources.voc, voc_object(corners=(60, 20, 65, 25)), {}, 'outside of the image', 0),
    'fractions': (
        sources.labelme,
        [shape(points=((0.1, 0.1), (0.9, 0.1), (0.5, 0.9)))],
        {},
        'its box is in fractions of the image',
        0,
    ),
    'from 0': (sources.voc, voc_object(corners=(0, 1, 9, 9)), {}, '(--first-pixel 0)', 1),
    'one pixel': (sources.voc, voc_object(corners=(4, 5, 4, 5)), {}, 'one pixel wide or high', 1),
    'twice': (sources.voc, voc_object() * 2, {}, 'is the same object', 1),
    'other class': (
        sources.voc,
        voc_object() + voc_object('x'),
        dict(classes=['x']),
        '--classes leaves out: cell',
        1,
    ),
    'truncated': (
        sources.voc,
        voc_object(extra='<truncated>1</truncated>'),
        {},
        'is marked truncated',
        1,
    ),
    'dropped': (
        sources.voc,
        voc_object(extra='<difficult>1</difficult>'),
        dict(difficult='drop'),
        'it is difficult, cell',
        0,
    ),
    'no area': (sources.kitti, 'Car 0 0 0 5 5 5 9' + ' 0' * 7, {}, 'less than one pixel wide', 0),
    'region': (sources.kitti, 'DontCare -1 -1 -10 1 1 9 9' + ' -1' * 7, {}, 'DontCare region', 0),
    'line': (
        sources.cvat,
        '<polyline label="cell" points="1,1;2,2"/>',
        {},
        'is no outline of an object, and is left out: <polyline>',
        0,
    ),
    'point': (sources.labelme, [shape('point', points=[(1, 1)])], {}, 'left out: point', 0),
    'flat': (
        sources.labelme,
        [shape(points=((1, 1), (5, 1), (9, 1)))],
        {},
        'less than one pixel wide',
        0,
    ),
}


@pytest.mark.parametrize('case', NOTES)
def test_notes(case, tmp_path):
    """What is changed or left out is named with its place; the rest of the file is written."""
    write, content, options, expected, left = NOTES[case]
    path = write(tmp_path, content)
    coco, report, _ = import_annotations(write.__name__, path, **options)
    assert not report.errors.kinds
    lines = report.note_lines()
    assert any(expected in line for line in lines), lines
    assert len(coco['annotations']) == left
    for one in coco['annotations']:
        x, y, w, h = one['bbox']
        assert 0 <= x < x + w <= WIDTH and 0 <= y < y + h <= HEIGHT


@pytest.mark.parametrize(('difficult', 'crowds'), [('ignore', [1]), ('keep', [0]), ('drop', [])])
def test_difficult(difficult, crowds, tmp_path):
    path = sources.voc(tmp_path, voc_object(extra='<difficult>1</difficult>'))
    coco, _, _ = import_annotations('voc', path, difficult=difficult)
    assert [one['iscrowd'] for one in coco['annotations']] == crowds
    assert all(one['difficult'] == 1 for one in coco['annotations'])


@pytest.mark.parametrize(
    ('word', 'given'),
    [
        *((word, True) for word in ('1', 'true', 'True', ' YES ')),
        *((word, False) for word in ('0', 'False', 'no', 'Unspecified', '', ' ')),
    ],
)
def test_words_of_flags(word, given, tmp_path):
    names = ('difficult', 'truncated', 'occluded')
    flags = ''.join(f'<{name}>{word}</{name}>' for name in names)
    coco, report, _ = import_annotations('voc', sources.voc(tmp_path, voc_object(extra=flags)))
    (one,) = coco['annotations']
    assert not report.errors.kinds and [one.get(name, 0) for name in names] == [given] * 3
    shape = f'<box label="cell" occluded="{word}" xtl="2" ytl="3" xbr="9" ybr="9"/>'
    coco, _, _ = import_annotations('cvat', sources.cvat(tmp_path / 'cvat', shape))
    assert coco['annotations'][0].get('occluded', 0) == given


def test_flags_of_files_that_were_those_of_kitti(tmp_path):
    for value, kept in (('0.00', None), ('-1', None), ('2', 1), ('0.5', 1)):
        flags = f'<truncated>{value}</truncated><occluded>{value}</occluded>'
        path = sources.voc(tmp_path / value, voc_object(extra=flags))
        coco, _, _ = import_annotations('voc', path)
        found = [coco['annotations'][0].get(key) for key in ('truncated', 'occluded')]
        assert found == [kept, kept]


def test_sizes_are_those_of_the_upright_file(tmp_path):
    path = sources.voc(tmp_path, size=(50, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(tmp_path / 'JPEGImages/a.jpg', exif=exif)
    coco, report, _ = import_annotations('voc', path)
    assert (coco['images'][0]['width'], coco['images'][0]['height']) == (HEIGHT, WIDTH)
    (line,) = [line for line in report.note_lines() if '50 x 60' in line]
    assert 'but it is 30 x 40 upright, by its EXIF orientation' in line


def test_ids_follow_names(tmp_path):
    """Ids do not depend on the order in which a disk lists files, and classes are sorted."""
    for name in ('b', 'c', 'a'):
        write_image(tmp_path / f'JPEGImages/{name}.jpg')
        objects = voc_object(name) + voc_object('ä b', (5, 5, 9, 9))
        write_text(tmp_path / f'Annotations/{name}.xml', sources.voc_xml(objects, f'{name}.jpg'))
    coco, _, _ = import_annotations('voc', tmp_path)
    assert [(one['id'], one['file_name']) for one in coco['images']] == [
        (1, 'a.jpg'),
        (2, 'b.jpg'),
        (3, 'c.jpg'),
    ]
    assert [one['name'] for one in coco['categories']] == ['a', 'b', 'c', 'ä b']
    assert [one['category_id'] for one in coco['annotations']] == [1, 4, 2, 4, 3, 4]
    assert [one['id'] for one in coco['annotations']] == [1, 2, 3, 4, 5, 6]
    chosen = ['ä b', 'c']
    coco, _, _ = import_annotations('voc', tmp_path, classes=chosen)
    assert [one['name'] for one in coco['categories']] == chosen
    assert [one['category_id'] for one in coco['annotations']] == [1, 1, 2, 1]


def test_classes_of_yolo_keep_their_order(tmp_path):
    path = sources.yolo(tmp_path, '9 0.5 0.5 0.5 0.5', "{9: 'no', 2: zebra}")
    coco, _, _ = import_annotations('yolo', path)
    assert coco['categories'] == [dict(id=1, name='zebra'), dict(id=2, name='no')]
    assert coco['annotations'][0]['category_id'] == 2


def test_images_without_annotations(tmp_path):
    path = sources.yolo(tmp_path)
    write_image(tmp_path / 'images/train/sub/b.png')
    write_text(tmp_path / 'labels/train/c.txt', '')
    write_image(tmp_path / 'images/train/c.png')
    coco, report, _ = import_annotations('yolo', path)
    assert [one['file_name'] for one in coco['images']] == ['a.jpg', 'c.png', 'sub/b.png']
    assert report.note_lines()[0] == '1 x has no annotations, and has no objects'
    coco, _, _ = import_annotations('yolo', path, only_annotated=True)
    assert [one['file_name'] for one in coco['images']] == ['a.jpg', 'c.png']


def test_lists_of_voc(tmp_path):
    sources.voc(tmp_path)
    write_image(tmp_path / 'JPEGImages/b.jpg')
    write_text(tmp_path / 'Annotations/b.xml', sources.voc_xml(filename='b.jpg'))
    write_text(tmp_path / 'ImageSets/Main/val.txt', 'b -1\n\n')
    coco, _, _ = import_annotations('voc', tmp_path, split='val')
    assert [one['file_name'] for one in coco['images']] == ['b.jpg']
    coco, _, _ = import_annotations('voc', tmp_path / 'Annotations', split='val')
    assert [one['file_name'] for one in coco['images']] == ['b.jpg']
    with pytest.raises(ValueError, match=r'--split x: .*x.txt does not exist; allowed: val'):
        import_annotations('voc', tmp_path, split='x')


def test_names_with_spaces_in_lists_of_voc(tmp_path):
    sources.voc(tmp_path)
    for name in ('cell (0)', 'cell'):
        write_image(tmp_path / f'JPEGImages/{name}.jpg')
        text = sources.voc_xml(filename=f'{name}.jpg')
        write_text(tmp_path / f'Annotations/{name}.xml', text)
    write_text(tmp_path / 'ImageSets/Main/val.txt', 'cell (0)\n')
    write_text(tmp_path / 'ImageSets/Main/class_val.txt', 'cell (0)  1\ncell -1\n')
    coco, _, _ = import_annotations('voc', tmp_path, split='val')
    assert [one['file_name'] for one in coco['images']] == ['cell (0).jpg']
    coco, _, _ = import_annotations('voc', tmp_path, split='class_val')
    assert [one['file_name'] for one in coco['images']] == ['cell (0).jpg', 'cell.jpg']


# Folder of the annotations, and the files whose suffix may be written in another case.
FOLDERS = {
    'voc': ('Annotations', 'a.xml'),
    'yolo': ('labels/train', 'a.txt'),
    'kitti': ('label_2', 'a.txt'),
    'labelme': ('', 'a.json'),
    'lightly': ('labels', 'a.json'),
    'masks': ('masks', 'a.png'),
}
CLASS = {'kitti': ['Car']}
LEFTOVERS = ('._a', '.ipynb_checkpoints/a', '__MACOSX/a', '@eaDir/a')


def folder_of(name, folder):
    """Write a source, and return IN, the folder of images or None, and the annotation file."""
    images, rectangle = None, dict(label='cell', shape_type='rectangle')
    if name == 'labelme':
        source = sources.labelme(folder, [dict(rectangle, points=[[2, 3], [12, 13]])])
    elif name == 'masks':
        pixels = np.zeros(sources.SIZE[::-1], np.uint8)
        pixels[3:13, 2:12] = 1
        sources.mask(folder / 'masks/a.png', pixels)
        write_image(folder / 'images/a.jpg')
        source, images = folder / 'masks', str(folder / 'images')
    else:
        source = getattr(sources, name)(folder)
    return source, images, folder.joinpath(*FOLDERS[name])


@pytest.mark.parametrize('name', FOLDERS)
def test_files_of_annotations_are_found_as_images_are(name, tmp_path):
    """The case of a suffix does not matter; files of operating systems do not count."""
    source, images, path = folder_of(name, tmp_path)
    path = path.rename(path.with_suffix(path.suffix.upper()))
    for leftover in LEFTOVERS:
        write_text(path.parent / f'{leftover}{path.suffix.lower()}', b'\0\5\x16\7')
    coco, report, _ = import_annotations(name, source, images, CLASS.get(name, ['cell']))
    assert len(coco['annotations']) == 1 and not report.errors.kinds


@pytest.mark.parametrize('name', FOLDERS)
def test_sources_by_relative_paths(name, tmp_path, monkeypatch):
    source, images, _ = folder_of(name, tmp_path)
    folder = source if source.is_dir() else source.parent
    monkeypatch.chdir(folder)
    for path in ('.', f'../{folder.name}'):
        coco, report, _ = import_annotations(name, path, images, CLASS.get(name, ['cell']))
        assert len(coco['annotations']) == 1 and not report.errors.kinds


def test_a_class_that_the_source_does_not_list_is_an_error(tmp_path):
    box = '<box label="{}" xtl="2" ytl="3" xbr="12" ybr="13"/>'
    path = sources.cvat(tmp_path, '\n'.join(map(box.format, ('dog', 'cell'))))
    coco, report, _ = import_annotations('cvat', path)
    (line, *_) = report.errors.lines()
    assert 'annotations.xml:3: is of a class that the source does not list: dog' in line
    assert len(coco['annotations']) == 1
    coco, report, _ = import_annotations('cvat', path, classes=['cell'])
    assert len(coco['annotations']) == 1 and not report.errors.kinds


@pytest.mark.parametrize('name', ['labelme', 'lightly'])
def test_the_coco_file_is_not_written_among_annotations(name, tmp_path, capsys):
    source, _, _ = folder_of(name, tmp_path)
    assert main(['import', name, str(source), str(source / 'sub/coco.json')]) == 1
    said = capsys.readouterr().err
    assert f'where every .json file is an annotation of {name}; allowed: another folder' in said
    assert main(['import', name, str(source), str(tmp_path.parent / f'{name}.json')]) == 0


@pytest.mark.parametrize('train', ['images/train', '../images/train', './images/train/'])
def test_paths_of_data_yaml(train, tmp_path):
    """Roboflow writes paths that begin with .. and lie beside the file."""
    path = sources.yolo(tmp_path, head=f'train: {train}\n')
    assert len(import_annotations('yolo', path)[0]['annotations']) == 1
    assert len(import_annotations('yolo', tmp_path)[0]['annotations']) == 1


@pytest.mark.parametrize(
    ('classes', 'message'),
    [
        (['Cell'], r'--classes: no object is of Cell; .*a.xml:4: is of a class that .*: cell'),
        (['cell', 'cell'], "--classes has 'cell'; allowed: names, each of them once"),
        ([''], "--classes has ''; allowed: names"),
    ],
)
def test_wrong_classes(classes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        import_annotations('voc', sources.voc(tmp_path), classes=classes)


@pytest.mark.parametrize('name', ['voc', 'kitti', 'labelme', 'masks'])
def test_folders_without_annotations(name, tmp_path):
    """The folder of images in place of that of the annotations is an error."""
    write_image(tmp_path / 'images/a.jpg')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ValueError, match='empty has no annotations of this format'):
        import_annotations(name, tmp_path / 'empty', str(tmp_path / 'images'), ['cell'])


def test_pair_by_stem(tmp_path):
    path = sources.voc(tmp_path, filename='of another computer.jpg')
    coco, report, _ = import_annotations('voc', path, pair_by_stem=True)
    assert len(coco['annotations']) == 1 and not report.errors.kinds


def test_command(tmp_path, capsys):
    """Errors stop the import before the file is written; --skip-errors writes the rest."""
    path = sources.yolo(tmp_path, '0 0.5 0.5 0.5 0.5\n7 0.5 0.5 0.1 0.1\n')
    line = ['import', 'yolov8', str(path), str(tmp_path / 'out.json')]
    assert main(line) == 1
    message = capsys.readouterr().err
    assert f'{tmp_path}/labels/train/a.txt:2: is of no class of data.yaml (0), got 7' in message
    assert 'out.json' not in sources.files_in(tmp_path)
    assert main([*line, '--skip-errors']) == 0
    printed = capsys.readouterr().out
    assert 'a.txt:2' in printed and f'relative to {tmp_path}/images/train' in printed
    assert len(json.loads((tmp_path / 'out.json').read_text())['annotations']) == 1
    assert main(line) == 1 and '--overwrite replaces it' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('words', 'code', 'message'),
    [
        ('coco a', 2, 'coco is COCO already: lomar train --train-ann'),
        ('csv a', 2, 'csv found; allowed: voc, yolo, kitti, cvat, labelme, masks, labelbox'),
        ('kitti a --split val', 1, '--split is for voc and yolo, not for kitti'),
        ('voc a --layout ids', 1, '--layout is for masks, not for voc'),
        ('voc missing', 1, 'missing is no folder; this format has a folder of annotations'),
        ('cvat missing', 1, 'missing is no file; this format has one file of annotations'),
        ('masks a', 1, 'this format needs --images'),
        ('masks a --images a --void -1', 1, '--void is -1; allowed: 0 to 65535'),
        ('masks a --images a --void 65536', 1, '--void is 65536; allowed: 0 to 65535'),
        ('labelbox a', 1, 'this format needs --images'),
    ],
)
def test_wrong_usage(words, code, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        found = main(['import', *words.split()[:2], 'out.json', *words.split()[2:]])
    except SystemExit as stopped:
        found = stopped.code
    assert found == code and message in capsys.readouterr().err


def test_without_labelformat_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'labelformat', None)
    for name in [name for name in sys.modules if name.startswith('labelformat.')]:
        monkeypatch.setitem(sys.modules, name, None)
    path = sources.labelbox(tmp_path)
    line = ['import', 'labelbox', str(path), str(tmp_path / 'out.json'), '--images', str(tmp_path)]
    assert main(line) == 1
    expected = "this format needs labelformat: pip install 'lomar-openmmlab[annotations]'\n"
    assert capsys.readouterr().err == f'lomar import: {expected}'


NAMES = st.text(
    st.characters(blacklist_categories=('C', 'Z'), blacklist_characters='<>&'),
    min_size=1,
    max_size=9,
)
CORNERS = st.tuples(
    st.integers(1, WIDTH), st.integers(1, HEIGHT), st.integers(1, WIDTH), st.integers(1, HEIGHT)
).map(lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]), max(c[1], c[3])))
OBJECTS = st.lists(st.tuples(NAMES, CORNERS), max_size=6, unique=True)
QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@QUICK
@given(objects=OBJECTS)
def test_round_trip_of_voc(objects, tmp_path):
    """Boxes of whole pixels are the same again."""
    path = sources.voc(tmp_path, ''.join(voc_object(*one) for one in objects))
    coco, report, _ = import_annotations('voc', path)
    names = {one['id']: one['name'] for one in coco['categories']}
    found = [(names[one['category_id']], one['bbox']) for one in coco['annotations']]
    assert not report.errors.kinds
    expected = [
        (name, [x - 1, y - 1, x2 - x + 1, y2 - y + 1])
        for name, (x, y, x2, y2) in objects
        if (x, y, x2, y2) != (1, 1, 1, 1)  # for the check, this box is in fractions
    ]
    assert found == expected


@QUICK
@given(objects=OBJECTS)
def test_round_trip_of_yolo(objects, tmp_path):
    """Boxes are the same to a thousandth of a pixel, with classes in the order of the file."""
    classes = list(dict.fromkeys(name for name, _ in objects)) or ['none']
    lines = [
        f'{classes.index(name)} {(x + x2 - 1) / 2 / WIDTH} {(y + y2 - 1) / 2 / HEIGHT} '
        f'{(x2 - x + 1) / WIDTH} {(y2 - y + 1) / HEIGHT}\r\n'
        for name, (x, y, x2, y2) in objects
    ]
    path = sources.yolo(tmp_path, ''.join(lines), json.dumps(classes, ensure_ascii=False))
    coco, report, _ = import_annotations('yolo', path)
    assert not report.errors.kinds and [one['name'] for one in coco['categories']] == classes
    expected = [
        (classes.index(name) + 1, [x - 1, y - 1, x2 - x + 1, y2 - y + 1])
        for name, (x, y, x2, y2) in objects
        if (x, y, x2, y2) != (1, 1, 1, 1)
    ]
    for one, (category, box) in zip(coco['annotations'], expected, strict=True):
        assert one['category_id'] == category and one['bbox'] == pytest.approx(box, abs=2e-3)
