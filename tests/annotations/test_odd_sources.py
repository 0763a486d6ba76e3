"""`lomar import` of files as people have them: each fault has one line, with file and line."""

import json
import os

import annotation_sources as sources
import numpy as np
import pytest
from annotation_sources import voc_object, voc_xml, write_image, write_text

from lomar.annotations import import_annotations
from lomar.cli import main

BOMB = (
    '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]>\n'
    '<annotation><filename>&y;</filename></annotation>'
)
EXTERNAL = (
    '<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>\n'
    '<annotation><filename>&x;</filename></annotation>'
)
# Text of Annotations/a.xml, and the message after its path.
VOC = {
    'empty': ('', ':1: is no XML: no element found'),
    'cut': (voc_xml(voc_object())[:-20], ':6: is no XML: '),
    'tag': ('<annotation>\n<a></b>\n</annotation>', ':2: is no XML: mismatched tag'),
    'text': ('hello', ':1: is no XML: syntax error'),
    'bytes': (b'<annotation>\n\xff\xfe\n</annotation>', ':2: is no XML: not well-formed'),
    'encoding': (b'<?xml version="1.0" encoding="klingon"?>\n<a/>', ':1: is no XML: '),
    'two bytes': (
        '<?xml version="1.0" encoding="gb2312"?>\n<a/>',
        ':1: is no XML: multi-byte encodings are not supported',
    ),
    'bomb': (BOMB, ':2: a DOCTYPE is refused'),
    'external': (EXTERNAL, ':2: a DOCTYPE is refused'),
    'undefined': ('<annotation>\n&x;</annotation>', ':2: is no XML: undefined entity'),
    'root': ('<html/>', ':1: is no VOC annotation, the root is <html>'),
    'no filename': ('<annotation/>', ':1: <annotation> has no <filename>'),
    'no name': (voc_xml(voc_object('  ')), ':4: <object> has no <name>'),
    'no box': (voc_xml('<object><name>x</name></object>'), ':4: <object> has no <bndbox/xmin>'),
    'word': (voc_xml(voc_object(corners=(1, 2, 'x', 4))), ":4: xmax is no number, got 'x'"),
    'nan': (voc_xml(voc_object(corners=(1, 2, 'nan', 4))), ":4: xmax is no number, got 'nan'"),
    'huge': (voc_xml(voc_object(corners=(1, 2, '1e300', 4))), ':4: xmax is no number'),
    'flag': (
        voc_xml(voc_object(extra='<difficult>maybe</difficult>')),
        ":4: difficult is no flag; allowed: 0, false, no, unspecified, 1, true, yes; got 'maybe'",
    ),
    'level': (
        voc_xml(voc_object(extra='<difficult>2</difficult>')),
        ":4: difficult is no flag; allowed: 0, false, no, unspecified, 1, true, yes; got '2'",
    ),
    'swapped': (voc_xml(voc_object(corners=(9, 2, 3, 4))), ':4: xmax or ymax is less than xmin'),
    'fractions': (
        voc_xml(voc_object(corners=(0.1, 0.1, 0.5, 1))),
        ':4: corners are in fractions of the image, not in pixels: [0.1, 0.1, 0.5, 1.0]',
    ),
    'missing': (voc_xml(filename='b.jpg'), '/JPEGImages/b.jpg; --pair-by-stem takes the name of'),
    'folder': (voc_xml(filename='x/a.jpg'), '/JPEGImages/x/a.jpg; is it a.jpg?'),
    'above': (voc_xml(filename='../../../a.jpg'), 'JPEGImages is refused: ../../../a.jpg'),
    'beside': (voc_xml(filename='../secret.jpg'), 'JPEGImages is refused: ../secret.jpg'),
    'absolute': (voc_xml(filename='/etc/passwd'), 'an absolute path is refused: /etc/passwd'),
    'Windows': (voc_xml(filename='C:\\a.jpg'), 'an absolute path is refused: C:\\a.jpg'),
    'newline': (voc_xml(filename='a\nb.jpg'), 'there is no image '),
    'long': (voc_xml(filename='a' * 5000), 'there is no image '),
    'link': (voc_xml(filename='link.jpg'), 'JPEGImages is refused: link.jpg'),
    'folder link': (voc_xml(filename='out/a.jpg'), 'JPEGImages is refused: out/a.jpg'),
    'broken': (voc_xml(filename='broken.jpg'), 'the image cannot be read: '),
}


@pytest.mark.parametrize('case', VOC)
def test_voc(case, tmp_path):
    text, expected = VOC[case]
    path = sources.voc(tmp_path / 'data')
    write_image(tmp_path / 'data/secret.jpg')
    write_image(tmp_path / 'elsewhere/a.jpg')
    images = path / 'JPEGImages'
    write_text(images / 'broken.jpg', 'no image')
    os.symlink('../../elsewhere/a.jpg', images / 'link.jpg')
    os.symlink('../../elsewhere', images / 'out')
    write_text(path / 'Annotations/a.xml', text)
    options = dict(only_annotated=True)
    coco, report, _ = import_annotations('voc', path, **options)
    (line,) = report.errors.lines()
    assert line.startswith(f'{path}/Annotations/a.xml:') and expected in line and '\n' not in line
    assert line.count('broken.jpg: ') <= 1  # also named by the error that is quoted
    assert len(coco['images']) <= 1 and not coco['annotations']


# Text of the label file, data.yaml's names and first lines, and the message.
YOLO = {
    'columns': ('0 0.5 0.5 0.5', 'a.txt:1: has 4 values; a line is a class number and'),
    'score': ('\n0 0.5 0.5 0.5 0.5 0.9', 'a.txt:2: has 6 values'),
    'word': ('0 0.5 a 0.5 0.5', "a.txt:1: a value is no number, got 'a'"),
    'pixels': ('0 320 240 100 100', 'a.txt:1: values are fractions of the image, 0 to 1, got'),
    'class': ('3 0.5 0.5 0.5 0.5', 'a.txt:1: is of no class of data.yaml (0), got 3'),
    'half class': ('0.5 0.5 0.5 0.5 0.5', 'a.txt:1: is of no class of data.yaml (0), got 0.5'),
    'infinite': ('0 inf 0.5 0.5 0.5', 'a.txt:1: a value is no number'),
    'bytes': (b'0 0.5 0.5 0.5 0.5\n\xff', 'a.txt:2: is no text in UTF-8: invalid start byte'),
}


@pytest.mark.parametrize('case', YOLO)
def test_lines_of_yolo(case, tmp_path):
    lines, expected = YOLO[case]
    _, report, _ = import_annotations('yolo', sources.yolo(tmp_path, lines))
    (line,) = report.errors.lines()
    assert line.startswith(str(tmp_path)) and expected in line


# A list of 2^60 entries.
ALIASES = 'a0: &a0 [b]\n' + ''.join(f'a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n' for i in range(1, 61))
DATA_YAML = {
    'empty': ('', 'is no data.yaml with names, it has a NoneType'),
    'list': ('[a]', 'is no data.yaml with names, it has a list'),
    'brackets': ('train: images/train\nnames: [a', 'data.yaml:2: is no YAML: '),
    'object': ('names: !!python/object/apply:os.system [ls]', 'data.yaml:1: is no YAML: could not'),
    'no names': ('train: images/train', 'names must be a list of classes'),
    'truth': ('train: images/train\nnames: [no, b]', 'names has a bool; write names such as "no"'),
    'twice': ('train: images/train\nnames: [b, b]', 'names has a class twice'),
    'nc': ('train: images/train\nnc: 3\nnames: [b]', 'nc is not the number of names: 3, 1'),
    'poses': ('train: images/train\nnames: [b]\nkpt_shape: [17, 3]', 'describes key points'),
    'list file': ('train: train.txt\nnames: [b]', 'train and path must be folders'),
    'aliases of folders': (f'{ALIASES}train: *a60\nnames: [b]', 'folders, got list and '),
    'aliases of the number': (f'{ALIASES}train: a\nnc: *a60\nnames: [b]', 'names: list, 1'),
    'folders': ('train: [a, b]\nnames: [b]', 'train and path must be folders'),
    'above': ('path: ..\ntrain: images\nnames: [b]', 'is refused: ../images'),
    'absolute': ('path: /data\ntrain: images\nnames: [b]', 'an absolute path is refused: /data'),
    'no folder': ('train: x\nnames: [b]', 'x is no folder; --images names it'),
    'no split': ('names: [b]', '--split is not given; allowed: none'),
    'two splits': ('train: images/train\nval: x\nnames: [b]', '--split is not given; allowed: tra'),
}


@pytest.mark.parametrize('case', DATA_YAML)
def test_data_yaml(case, tmp_path):
    text, expected = DATA_YAML[case]
    path = sources.yolo(tmp_path)
    write_text(path, text)
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        import_annotations('yolo', path)
    assert expected in str(raised.value) and '\n' not in str(raised.value)


def test_labels_without_their_image(tmp_path):
    path = sources.yolo(tmp_path)
    write_text(tmp_path / 'labels/train/b.txt', '')
    write_image(tmp_path / 'images/train/a.png')
    _, report, _ = import_annotations('yolo', path)
    two, none = report.errors.lines()
    assert 'a.txt: belongs to 2 images, a.jpg, a.png' in two
    assert f'b.txt: there is no image b.* in {tmp_path}/images/train' in none


def test_missing_folder_of_labels(tmp_path):
    write_image(tmp_path / 'images/a.jpg')
    path = write_text(tmp_path / 'data.yaml', 'train: images\nnames: [b]')
    with pytest.raises(FileNotFoundError, match=r'labels, for the images in .*, is no folder'):
        import_annotations('yolo', path)


def test_one_of_the_files_of_lightly_is_wrong(tmp_path):
    path = sources.lightly(tmp_path)
    write_text(path / 'b.json', '{')
    coco, report, _ = import_annotations('lightly', path)
    assert len(report.errors.lines()) == 1 and len(coco['annotations']) == 1


def test_labels_that_link_out(tmp_path):
    path = sources.yolo(tmp_path / 'data')
    write_text(tmp_path / 'secret', 'password')
    (tmp_path / 'data/labels/train/a.txt').unlink()
    os.symlink('../../../secret', tmp_path / 'data/labels/train/a.txt')
    _, report, _ = import_annotations('yolo', path)
    (line,) = report.errors.lines()
    assert 'a link out of' in line and 'password' not in line


KITTI = {
    'columns': ('Car 0 0 1', 'a.txt:1: has 4 words; allowed: a class and 14 numbers'),
    'word': ('Car 0 0 0 2 3 x 13 1 1 1 1 1 1 0', "a.txt:1: a value is no number, got 'x'"),
    'swapped': ('Car 0 0 0 9 3 2 13 1 1 1 1 1 1 0', 'a.txt:1: right or bottom is less than'),
}
CVAT = {
    'track': ('<track/>', None),  # below <image>, which is a note
    'box': ('<box label="cell" xtl="2"/>', 'annotations.xml:3: ytl is no number, got None'),
    'flag': ('<box label="a" occluded="x"/>', ':3: occluded is no flag; allowed: 0, false, no'),
    'label': ('<box xtl="1" ytl="1" xbr="2" ybr="2"/>', ':3: the object has no class name'),
    'points': ('<polygon label="a" points="1,2;3,4"/>', ':3: a polygon needs 3 or more points'),
    'words': (
        '<polygon label="a" points="1,2;3,x;4,5"/>',
        ":3: a coordinate is no number, got 'x'",
    ),
    'runs': (
        '<mask label="a" left="0" top="0" width="2" height="2" rle="1,2"/>',
        ':3: the mask does not fit its part or the image: 3 pixels in runs, part of 2 x 2',
    ),
    'beyond': (
        '<mask label="a" left="39" top="0" width="2" height="2" rle="1,3"/>',
        ':3: the mask does not fit its part or the image: 4 pixels in runs, part of 2 x 2 from 39',
    ),
}
SHAPE = dict(label='cell', points=[[1, 1], [9, 1], [9, 9]], shape_type='polygon')
LABELME = {
    'no dict': (['a'], 'a.json: shapes[0]: is no shape, got str'),
    'label': ([SHAPE | dict(label=None)], 'shapes[0]: the object has no class name, got None'),
    'points': ([SHAPE, SHAPE | dict(points='x')], 'shapes[1]: points must be a list of [x, y]'),
    'two': ([SHAPE | dict(points=[[1, 1], [2, 2]])], 'a polygon has 3 or more points, got 2'),
    'three': ([SHAPE | dict(shape_type='rectangle')], 'a rectangle has 2 points, got 3'),
    'word': ([SHAPE | dict(points=[[1, 1], [2, 'x'], [3, 3]])], "is no number, got 'x'"),
    'mask': (
        [SHAPE | dict(shape_type='mask', points=[[1, 1], [2, 2]], mask='!')],
        'the mask is no PNG in base64',
    ),
}
LABELBOX = {
    'text': ('{"a": 1,\n', 'export.ndjson:1: is no JSON: '),
    'keys': ('{}', "export.ndjson:1: cannot be read by labelformat: KeyError: 'projects'"),
    'comma': (sources.labelbox_row(objects=[dict(name='a,b')]), 'a class has a comma'),
    'path': (sources.labelbox_row('../a.jpg'), 'images is refused: ../a.jpg'),
    'missing': (sources.labelbox_row('b.jpg'), 'there is no image '),
    'second': (f'{sources.labelbox_row()}\n[]', 'export.ndjson:2: cannot be read by labelformat: '),
    'twice': (f'{sources.labelbox_row()}\n{sources.labelbox_row()}', ':2: has the image of '),
    'deep': ('[' * 100000, 'export.ndjson:1: is no JSON: '),
}
TABLES = dict(kitti=KITTI, cvat=CVAT, labelme=LABELME, labelbox=LABELBOX)


@pytest.mark.parametrize(('name', 'case'), [(n, case) for n in TABLES for case in TABLES[n]])
def test_entries(name, case, tmp_path):
    content, expected = TABLES[name][case]
    path = getattr(sources, name)(tmp_path, content)
    images = str(tmp_path / 'images') if name == 'labelbox' else None
    _, report, _ = import_annotations(name, path, images)
    lines = report.errors.lines()
    assert len(lines) == (expected is not None), lines
    assert all(expected in line and '\n' not in line for line in lines)


def test_other_kinds_of_cvat(tmp_path):
    path = write_text(tmp_path / 'annotations.xml', '<annotations>\n<track id="0"/></annotations>')
    with pytest.raises(ValueError, match=r'annotations.xml:2: is a video; export as "CVAT for im'):
        import_annotations('cvat', path)
    write_text(path, '<annotation/>')
    with pytest.raises(ValueError, match=r':1: is no file of "CVAT for images 1.1", the root is'):
        import_annotations('cvat', path)


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('', 'a.json:1: is no JSON: Expecting value'),
        ('{"shapes": [],\n "imagePath": }', 'a.json:2: is no JSON: Expecting value'),
        ('{}', "a.json: is no file of LabelMe, it has no list 'shapes'"),
        ('{"shapes": []}', 'a.json: names no image, got None'),
        ('{"shapes": [], "imagePath": "..\\\\b.jpg"}', 'is refused: ../b.jpg'),
        ('{"shapes": [], "imagePath": "b.jpg"}', 'a.json: there is no image '),
    ],
)
def test_files_of_labelme(text, expected, tmp_path):
    write_image(tmp_path / 'b.jpg')
    path = sources.labelme(tmp_path / 'data', [])
    write_text(path / 'a.json', text)
    _, report, _ = import_annotations('labelme', path)
    (line,) = report.errors.lines()
    assert expected in line


@pytest.mark.parametrize(
    ('content', 'expected'),
    [
        ('{', 'a.json:1: is no JSON: '),
        ('{"predictions": []}', "a.json: cannot be read by labelformat: KeyError: 'file_name'"),
        ('{"file_name": "../a.jpg"}', 'images is refused: ../a.jpg'),
        (
            '{"file_name": "a.jpg"}',
            "cannot be read by labelformat: KeyError: 'predictions'",
        ),
    ],
)
def test_files_of_lightly(content, expected, tmp_path):
    path = sources.lightly(tmp_path)
    write_text(path / 'a.json', content)
    _, report, _ = import_annotations('lightly', path)
    (line,) = report.errors.lines()
    assert expected in line


ROWS = np.zeros((sources.HEIGHT, sources.WIDTH), np.uint8)
MASKS = {
    'size': ('a.png', ROWS[1:] + 1, {}, 'the mask has another size than the image: 40 x 29'),
    'colors': (
        'a.png',
        np.stack([ROWS, ROWS + 1, ROWS], -1),
        {},
        'has colors, not one value per pixel: RGB',
    ),
    'no image': ('b.png', ROWS, {}, 'there is no image b.*'),
    'no class': ('a.png', ROWS, dict(classes=[]), 'is in no folder of a class; --classes NAME'),
}


@pytest.mark.parametrize('case', MASKS)
def test_masks(case, tmp_path):
    name, pixels, options, expected = MASKS[case]
    write_image(tmp_path / 'images/a.jpg')
    sources.mask(tmp_path / 'masks' / name, pixels)
    arguments = dict(classes=['cell']) | options
    _, report, _ = import_annotations(
        'masks', tmp_path / 'masks', str(tmp_path / 'images'), **arguments
    )
    (line,) = report.errors.lines()
    assert f'{tmp_path}/masks/{name}: {expected}' in line


def test_broken_and_binary_masks(tmp_path):
    for name in 'ab':
        write_image(tmp_path / f'images/{name}.jpg')
    write_text(tmp_path / 'masks/a.png', 'no png')
    sources.mask(tmp_path / 'masks/b.png', ROWS + 255)
    images = str(tmp_path / 'images')
    coco, report, _ = import_annotations('masks', tmp_path / 'masks', images, ['cell'])
    (line,) = report.errors.lines()
    assert 'a.png: cannot be read as PNG: ' in line and len(coco['annotations']) == 1
    assert any('(--layout regions)' in note for note in report.note_lines())
    with pytest.raises(ValueError, match='are in the folder of images'):
        import_annotations('masks', tmp_path / 'images', images, ['cell'])


def test_files_of_all_annotations_in_another_encoding(tmp_path, capsys):
    images = str(tmp_path / 'images')
    write_text(sources.labelbox(tmp_path), b'{}\n\xff')
    line = ['import', 'labelbox', f'{tmp_path}/export.ndjson', f'{tmp_path}/out.json', '--images']
    assert main([*line, images]) == 1
    expected = f'lomar import: {tmp_path}/export.ndjson:2: is no text in UTF-8: invalid start byte'
    assert capsys.readouterr().err == f'{expected}\n'
    path = sources.voc(tmp_path)
    write_text(path / 'ImageSets/Main/val.txt', b'a\n\xff')
    with pytest.raises(ValueError, match=r'val.txt:2: is no text in UTF-8'):
        import_annotations('voc', path, split='val')


def test_two_files_for_one_image(tmp_path):
    path = sources.voc(tmp_path)
    write_text(path / 'Annotations/b.xml', voc_xml(voc_object()))
    coco, report, _ = import_annotations('voc', path)
    (line,) = report.errors.lines()
    assert f'{path}/Annotations/b.xml:1: has the image of {path}/Annotations/a.xml:1' == line
    assert len(coco['annotations']) == 1


def test_strange_names(tmp_path):
    """Class and file names in any script, with spaces, quotes and a dollar sign."""
    name, label = "größe 1 '$x$' 图.jpg", 'Blut  körperchen "β"'
    write_image(tmp_path / 'JPEGImages' / name)
    text = voc_xml(voc_object(label), name).replace('"', '&quot;')
    write_text(tmp_path / 'Annotations/1.xml', text)
    coco, report, _ = import_annotations('voc', tmp_path)
    assert not report.errors.kinds
    assert coco['images'][0]['file_name'] == name
    assert json.loads(json.dumps(coco))['categories'][0]['name'] == 'Blut körperchen "β"'
