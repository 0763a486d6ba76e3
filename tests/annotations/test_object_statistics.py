"""`lomar statistics --objects`: numbers by hand, odd files, the picture; `--pixels` as before."""

import json

import numpy as np
import pytest
from PIL import Image

from lomar.annotations import object_statistics
from lomar.cli import main


def annotation(image, category, width, height, **more):
    return dict(id=1, image_id=image, category_id=category, bbox=[1, 2, width, height], **more)


def write(folder, annotations, images=3):
    """Write a file with images 1, 2, 3, ... of 400 x 300 pixels, and the classes nut and $bolt."""
    coco = dict(
        images=[
            dict(id=number, file_name=f'{number}.png', width=400, height=300)
            for number in range(1, images + 1)
        ],
        annotations=annotations,
        categories=[dict(id=2, name='$bolt_{'), dict(id=1, name='nut')],
    )
    path = folder / 'ann.json'
    path.write_text(json.dumps(coco))
    return path


OBJECTS = [
    annotation(1, 1, 10, 20),
    annotation(1, 2, 50, 50, area=900, segmentation=[[1, 2, 51, 2, 51, 52, 1, 52]]),
    annotation(1, 2, 100, 200),
    annotation(3, 2, 40, 40),
]
NO_OBJECTS = [
    annotation(3, 2, 40, 40, iscrowd=1),
    annotation(3, 9, 40, 40),
    annotation(9, 2, 40, 40),
    annotation(3, 2, 0, 40),
    dict(id=3, image_id=3, category_id=2, bbox=None),
    'text',
    dict(image_id=[], category_id={}, bbox=[1, 1, 2, 2]),
]


def test_numbers(tmp_path):
    found = object_statistics(write(tmp_path, OBJECTS + NO_OBJECTS))
    assert found.classes == ('nut', '$bolt_{')
    assert found.objects == {'nut': 1, '$bolt_{': 3} and found.images_of == {'nut': 1, '$bolt_{': 2}
    np.testing.assert_array_equal(found.per_image, [3, 0, 1])
    np.testing.assert_array_equal(found.areas, [200, 900, 20000, 1600])
    np.testing.assert_array_equal(found.ratios, [0.5, 1, 0.5, 1])
    assert found.sizes == dict(small=2, medium=1, large=1) and found.masks == 1
    assert found.left_out == {
        'is a crowd': 1,
        'is of no category of the file': 3,
        'is on no image of the file': 1,
        'its box is less than one pixel wide or high': 1,
        'bbox is not four finite numbers': 1,
    }
    record = found.record()
    assert record['images_without_objects'] == 1
    assert record['quantiles']['objects per image'][0::6] == [0, 3]
    assert record['quantiles']['sqrt(area), pixels'][3] == pytest.approx(35)


def test_command(tmp_path, capsys):
    path, picture = write(tmp_path, OBJECTS + NO_OBJECTS), tmp_path / 'objects.png'
    line = ['statistics', '--objects', str(path), '--out', str(picture)]
    assert main([*line, '--json', str(tmp_path / 'objects.json')]) == 0
    printed = capsys.readouterr().out
    for expected in (
        'images                       3',
        '  without objects            1',
        '  small (COCO)               2',
        'left out: 1 x is a crowd',
        '$bolt_{         3         2',
    ):
        assert expected in printed
    assert json.loads((tmp_path / 'objects.json').read_text())['objects'] == 4
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert('RGB')).astype(int)
    blue = (np.abs(pixels - [31, 119, 180]).max(-1) < 5).mean((0, 1))
    assert blue > 0.05 and pixels.shape[0] > 500  # bars in the four plots
    assert main(line) == 1 and '--overwrite replaces it' in capsys.readouterr().err


@pytest.mark.parametrize('annotations', [[], NO_OBJECTS])
def test_files_without_objects(annotations, tmp_path, capsys):
    path = write(tmp_path, annotations)
    assert main(['statistics', '--objects', str(path), '--out', str(tmp_path / 'x.pdf')]) == 0
    assert '  without objects            3' in capsys.readouterr().out
    assert (tmp_path / 'x.pdf').read_bytes().startswith(b'%PDF')


DUPLICATES = dict(
    image=('images', dict(id=2, file_name='b.png'), 'images[3] has the id 2 of another image'),
    category=('categories', dict(id=1, name='cog'), 'categories[2] has the id 1 of another cat'),
    name=('categories', dict(id=3, name='nut'), 'categories[2] has the name nut of another cat'),
)


@pytest.mark.parametrize('name', DUPLICATES)
def test_duplicates_are_refused(name, tmp_path, capsys):
    entries, entry, message = DUPLICATES[name]
    path = write(tmp_path, OBJECTS)
    coco = json.loads(path.read_text())
    coco[entries].append(entry)
    path.write_text(json.dumps(coco))
    assert main(['statistics', '--objects', str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line and line.endswith('see lomar check')


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--objects missing.json', 'missing.json does not exist'),
        ('--objects ann.json --num-images 3', '--num-images is for --pixels'),
        ('--objects ann.json --channels 3', '--channels is for --pixels'),
        ('--objects ann.json --out x.gif', "--out x.gif ends in '.gif'; allowed: .pdf, .png, .svg"),
        ('. --out x.png', '--out is for --objects'),
        ('--objects empty.json', 'empty.json has no images'),
        ('--objects ann.json --out ./a.svg --json a.svg', '--out and --json are one file'),
        ('ann.json', 'A COCO file is given to --train-ann, or statistics --objects'),
    ],
)
def test_errors(flags, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, [], images=0).rename('empty.json')
    write(tmp_path, OBJECTS)
    assert main(['statistics', *flags.split()]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize('flags', [[], ['--pixels']])
def test_pixels_are_the_default(flags, tmp_path, capsys):
    for name, value in (('a', 10), ('b', 30)):
        Image.new('RGB', (4, 4), (value, 0, 200 + value)).save(tmp_path / f'{name}.png')
    assert main(['statistics', str(tmp_path), *flags, '--json', str(tmp_path / 'x.json')]) == 1
    assert 'mean=[20, 0, 220]' in capsys.readouterr().out  # the second channel is constant
