"""What `lomar import` says about a wrong folder of images, and about a missing data.yaml."""

import json

import annotation_sources as sources
import numpy as np
import pytest

from lomar.cli import main

NUMBER = 60  # annotated images


def many_voc(folder, name='{number}.jpg'):
    for number in range(NUMBER):
        text = sources.voc_xml(sources.voc_object(), name.format(number=number))
        sources.write_text(folder / f'Annotations/{number}.xml', text)
    return folder


def many_labelme(folder):
    shape = dict(label='cell', shape_type='rectangle', points=[[2, 3], [12, 13]])
    for number in range(NUMBER):
        content = dict(shapes=[shape], imagePath=f'{number}.jpg', imageWidth=40, imageHeight=30)
        sources.write_text(folder / f'{number}.json', json.dumps(content))
    return folder


def many_kitti(folder):
    for number in range(NUMBER):
        line = 'Car 0.0 0 -10 2 3 12 13 1 1 1 1 1 1 0\n'
        sources.write_text(folder / f'{number}.txt', line)
    return folder


def many_masks(folder):
    for number in range(NUMBER):
        sources.mask(folder / f'{number}.png', np.uint8([[0, 1]]))
    return folder


def many_cvat(folder):
    file = sources.cvat(folder)
    text = file.read_text()
    start, end = text.index('<image'), text.index('</annotations>')
    images = (text[start:end].replace('a.jpg', f'{number}.jpg') for number in range(NUMBER))
    return sources.write_text(file, text[:start] + ''.join(images) + text[end:])


SOURCES = {
    'voc': ('voc', many_voc, ()),
    'voc, absolute': ('voc', lambda d: many_voc(d, 'C:/data/{number}.jpg'), ()),
    'voc, by stem': ('voc', many_voc, ('--pair-by-stem',)),
    'labelme': ('labelme', many_labelme, ()),
    'kitti': ('kitti', many_kitti, ()),
    'cvat': ('cvat', many_cvat, ()),
    'masks': ('masks', many_masks, ('--classes', 'cell')),
}


@pytest.mark.parametrize('skip', [(), ('--skip-errors',)], ids=['', 'skip'])
@pytest.mark.parametrize('name', SOURCES)
def test_one_line_for_a_wrong_folder(name, skip, tmp_path, capsys):
    kind, write, flags = SOURCES[name]
    source = write(tmp_path / 'source')
    images = sources.write_image(tmp_path / 'images/other.jpg').parent
    line = ['import', kind, str(source), str(tmp_path / 'a.json'), '--images', str(images)]
    assert main([*line, *flags, *skip]) == 1
    said = capsys.readouterr().err
    assert said.count('\n') == 1 and said.startswith(f'lomar import: {NUMBER} x ')
    assert f'no annotation names an image in {images}, which has 1 images; --images DIR' in said
    assert 'The first one: ' in said and not (tmp_path / 'a.json').exists()


def test_some_missing_images_keep_their_lines(tmp_path, capsys):
    source = many_voc(tmp_path / 'source')
    images = sources.write_image(tmp_path / 'images/0.jpg').parent
    line = ['import', 'voc', str(source), str(tmp_path / 'a.json'), '--images', str(images)]
    assert main(line) == 1 and 'and 9 more: there is no image' in capsys.readouterr().err
    assert main([*line, '--skip-errors']) == 0


YOLO = {
    'a folder of images': ('images/train', 'has no data.yaml; allowed as IN: a data.yaml with the'),
    'another name': ('', 'has no data.yaml; is it {folder}/mine.yaml?'),
    'missing': ('gone', 'gone does not exist; allowed as IN: a data.yaml with the lines "names: ['),
}


@pytest.mark.parametrize('name', YOLO)
def test_yolo_without_data_yaml(name, tmp_path, capsys):
    path, message = YOLO[name]
    sources.yolo(tmp_path).rename(tmp_path / 'mine.yaml')
    assert main(['import', 'yolo', str(tmp_path / path), str(tmp_path / 'a.json')]) == 1
    said = capsys.readouterr().err
    assert message.format(folder=tmp_path) in said and said.count('\n') == 1


def test_a_class_that_no_object_has_is_noted(tmp_path, capsys):
    sources.voc(tmp_path, sources.voc_object('cell'))
    line = ['import', 'voc', str(tmp_path), str(tmp_path / 'a.json'), '--classes', 'cell', 'Cell']
    assert main(line) == 0
    assert 'a class of --classes has no annotations: Cell' in capsys.readouterr().out
