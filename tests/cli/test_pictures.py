"""Commands that draw: detections below annotations, and the loss of a run."""

import json

import pytest
from conftest import FIXTURES
from PIL import Image
from pycocotools.coco import COCO

from lomar.cli import main
from lomar.datasets.shapes import make_shapes

TOY = 'shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes'
DETECTOR = 'shapes/mask-rcnn_vitdet-tiny-scratch_shapes'


@pytest.fixture
def shapes(tmp_path):
    make_shapes(tmp_path / 'shapes', 1, 3, 64, 0, workers=1)
    return tmp_path / 'shapes'


@pytest.mark.filterwarnings('error:Creating a tensor')
def test_detections_are_drawn_below_the_annotations(shapes, tmp_path, capsys):
    annotations = shapes / 'annotations/val.json'
    coco, found = COCO(annotations), []
    for one in coco.anns.values():  # as lomar test --out writes segm.json
        rle = coco.annToRLE(one)
        mask = dict(rle, counts=rle['counts'].decode())
        same = dict(image_id=one['image_id'], category_id=one['category_id'], segmentation=mask)
        found += [dict(same, score=score) for score in (0.9, 0.2)]
    capsys.readouterr()
    results, out = tmp_path / 'segm.json', tmp_path / 'made/detections.png'
    results.write_text(json.dumps(found))
    data = ['--val-ann', annotations, '--val-images', shapes / 'val']
    line = ['browse', DETECTOR, *data, '--detections', results, '--num-images', 2, '--out', out]
    assert main(list(map(str, line))) == 0
    assert capsys.readouterr().out == f'detections on {shapes / "val"} in {out}\n'
    with Image.open(out) as picture:
        assert picture.size == (2 * (240 + 4) + 4, 2 * (240 + 4) + 4)
        assert max(high - low for low, high in picture.getextrema()) > 99


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"metrics": 3}', 'Expected `array`, got `object`; allowed: segm.json or bbox.json'),
        ('[1]', 'Expected `object`, got `int`'),
        ('cut', 'JSON is malformed'),
        ('[{"image_id": 99, "bbox": [1, 1, 2, 2]}]', 'image_id 99 is not in '),
        ('[{"image_id": 1, "category_id": 99, "bbox": [1, 1, 2, 2]}]', 'category_id 99 is not in'),
    ],
)
def test_files_that_are_no_detections_of_these_images(shapes, tmp_path, capsys, content, message):
    results = tmp_path / 'segm.json'
    results.write_text(content)
    data = ['--val-ann', shapes / 'annotations/val.json', '--val-images', shapes / 'val']
    assert main(list(map(str, ['browse', DETECTOR, *data, '--detections', results]))) == 1
    line = capsys.readouterr().err
    assert line.startswith(f'lomar browse: {results}: ') and message in line


def test_every_image_gets_a_reconstruction(photographs, tmp_path, capsys):
    """Images of one name in several folders do not overwrite each other."""
    (tmp_path / 'other').mkdir()
    (photographs / '1.jpg').rename(tmp_path / 'other/0.jpg')
    images = [photographs / '0.jpg', tmp_path / 'other/0.jpg', photographs / '2.jpg']
    options = ['model.backbone.arch.embed_dim=16', 'model.backbone.arch.depth=2']
    line = ['reconstruct', TOY, FIXTURES / 'v0.1/pretrain_lomar.pth', *images]
    line += ['--out', tmp_path / 'out', '--cfg-options', *options]
    assert main(list(map(str, line))) == 0
    names = sorted(path.relative_to(tmp_path / 'out') for path in (tmp_path / 'out').rglob('*.png'))
    assert list(map(str, names)) == ['other/0.png', 'photographs/0.png', 'photographs/2.png']


def test_a_small_image_does_not_end_the_reconstruction(photographs, tmp_path, capsys):
    Image.new('RGB', (10, 10)).save(photographs / '1.jpg')
    options = ['model.backbone.arch.embed_dim=16', 'model.backbone.arch.depth=2']
    line = ['reconstruct', TOY, FIXTURES / 'v0.1/pretrain_lomar.pth', photographs]
    line += ['--out', tmp_path / 'out', '--cfg-options', *options]
    assert main(list(map(str, line))) == 1
    said = capsys.readouterr().err
    assert '1.jpg: windows.size is ' in said and 'but an image has a grid of 2 x 2' in said
    drawn = sorted(path.stem for path in (tmp_path / 'out').glob('*.png'))
    assert drawn == sorted(path.stem for path in photographs.iterdir() if path.stem != '1')


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (f'{TOY} --val-ann a.json', '--val-ann has no effect without --detections'),
        (f'{TOY} --train-images . --val-images .', '--val-images has no effect without --det'),
        (f'{TOY} --threshold 0.5', '--threshold has no effect without --detections'),
        (f'{DETECTOR} --detections a.json --train-images .', '--train-images has no effect with '),
        (f'{DETECTOR} --detections a.json --seed 0', '--seed has no effect with --detections'),
        (f'{DETECTOR} --detections a.json --threshold 7', 'threshold is 7.0; allowed: a score f'),
    ],
)
def test_wrong_flags_of_browse(words, message, capsys):
    assert main(['browse', *words.split()]) == 1
    assert f'lomar browse: {message}' in capsys.readouterr().err


def test_browse_names_what_a_config_needs(tmp_path, capsys):
    assert main(['browse', DETECTOR]) == 1
    message = 'model.type is MaskRCNN; allowed: LoMaR, or a detector with --detections'
    assert message in capsys.readouterr().err
    assert main(['browse', 'lomar_pretrain', '--detections', 'segm.json']) == 1
    assert '--detections belongs to detection configs' in capsys.readouterr().err


def test_the_loss_of_a_work_dir(tmp_path, capsys):
    assert main(['results', '--loss', str(tmp_path)]) == 1
    assert 'was anything trained?' in capsys.readouterr().err
    scalars = tmp_path / '1/vis_data/scalars.json'
    scalars.parent.mkdir(parents=True)
    lines = [json.dumps(dict(loss=1 / step, lr=0.1, step=step)) for step in range(1, 9)]
    scalars.write_text('\n'.join(lines))
    for flags, out in (([], tmp_path / 'loss.png'), (['--plot', 'a.png'], tmp_path / 'a.png')):
        flags = [str(out) if flag == 'a.png' else flag for flag in flags]
        assert main(['results', '--loss', str(tmp_path), *flags]) == 0
        assert capsys.readouterr().out == f'{out}\n'
        assert Image.open(out).width > 500
