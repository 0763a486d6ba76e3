"""Commands that draw: detections below annotations, and the loss of a run."""

import json
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import FIXTURES
from PIL import Image
from pycocotools.coco import COCO

from lomar.cli import main, parse_args
from lomar.datasets.shapes import make_shapes
from lomar.engine import read_config, train_config

TOY = 'shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes'
DETECTOR = 'shapes/mask-rcnn_vitdet-tiny-scratch_shapes'
BOX = '"category_id": 1, "bbox": [1, 1, 2, 2]'
RLE = '{"size": [4, 4], "counts": [16]}'


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
        (f'[{{"image_id": 99, {BOX}}}]', 'image_id 99 is not in '),
        ('[{"image_id": 1, "category_id": 99, "bbox": [1, 1, 2, 2]}]', 'category_id 99 is not in'),
        (f'[{{{BOX}}}]', 'missing required field `image_id` - at `$[0]`'),
        ('[{"image_id": 1, "category_id": 1, "score": 1}]', 'field `bbox` or `segmentation`'),
        (f'[{{"image_id": 1, {BOX[:-1]}, 9]}}]', 'Expected `array` of length 4 - at'),
        ('[{"image_id": 1, "category_id": 1, "bbox": "box"}]', 'Expected `array`, got `str`'),
        (f'[{{"image_id": 1, {BOX[:-2]}1e9]}}]', '<= 1000000.0 - at `$[0].bbox[3]`'),
        (f'[{{"image_id": 1, {BOX}, "segmentation": {RLE}}}]', 'the size of the RLE is not the'),
        (f'[{{"image_id": 1, {BOX}, "segmentation": {"[" * 100_000}', 'recursion'),
    ],
)
def test_files_that_are_no_detections_of_these_images(shapes, tmp_path, capsys, content, message):
    results = tmp_path / 'segm.json'
    results.write_text(content)
    data = ['--val-ann', shapes / 'annotations/val.json', '--val-images', shapes / 'val']
    assert main(list(map(str, ['browse', DETECTOR, *data, '--detections', results]))) == 1
    line = capsys.readouterr().err
    assert line.startswith(f'lomar browse: {results}: ') and message in line


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda coco: coco.update(images=[]), 'images is empty; allowed: one image or more'),
        (lambda coco: coco['images'][0].pop('file_name'), 'images: .* field `file_name`'),
        (lambda coco: coco['images'].append(5), 'images: Expected `object`, got `int`'),
        (lambda coco: coco['annotations'][0].update(bbox=[1]), 'annotations: .*length 4, got 1'),
        (lambda coco: coco['annotations'][0].update(image_id=9), 'image_id 9 is not in '),
        (lambda coco: coco['annotations'][0].update(segmentation=['a']), '0.jpg: segmentation is'),
    ],
)
def test_annotations_that_cannot_be_drawn(shapes, tmp_path, capsys, change, message):
    annotations, results = shapes / 'annotations/val.json', tmp_path / 'segm.json'
    coco = json.loads(annotations.read_text())
    one = coco['annotations'][0]
    results.write_text(json.dumps([dict(one, score=1)]))
    change(coco)
    annotations.write_text(json.dumps(coco))
    line = ['browse', DETECTOR, '--val-ann', annotations, '--val-images', shapes / 'val']
    assert main(list(map(str, [*line, '--detections', results]))) == 1
    assert re.match(f'lomar browse: {annotations}: .*{message}', capsys.readouterr().err)


def test_detected_masks_over_annotated_boxes(shapes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    annotations = shapes / 'annotations/val.json'
    coco = json.loads(annotations.read_text())
    Path('segm.json').write_text(json.dumps(coco['annotations']))
    for one in coco['annotations']:
        del one['segmentation']
    annotations.write_text(json.dumps(coco))
    line = ['browse', DETECTOR, '--val-ann', annotations, '--val-images', shapes / 'val']
    assert main(list(map(str, [*line, '--detections', 'segm.json', '--num-images', 1]))) == 0
    with Image.open('browse.png') as picture:
        above, below = picture.crop((4, 4, 244, 244)), picture.crop((4, 248, 244, 488))
    assert above != below


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


def test_a_picture_that_cannot_be_written_replaces_nothing(photographs, tmp_path, capsys):
    out = tmp_path / 'keep.png'
    Image.new('RGB', (4, 4)).save(out)
    before = out.read_bytes()
    line = ['browse', TOY, '--train-images', photographs, '--num-images', 1]
    line += ['--out', out, '--overwrite']
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image.Image, 'save', full_disk)
        assert main(list(map(str, line))) == 1
    assert 'no space left on device' in capsys.readouterr().err
    assert out.read_bytes() == before and [*tmp_path.glob('.*')] == []


def full_disk(image, path, *_, **settings):
    Path(path).write_bytes(b'half')
    raise OSError('no space left on device')


def test_a_file_that_needs_rasterio_gets_no_reconstruction(
    photographs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    cv2.imwrite(str(photographs / '00.tif'), np.zeros((64, 64, 3), np.float32))
    options = ['model.backbone.arch.embed_dim=16', 'model.backbone.arch.depth=2']
    line = ['reconstruct', TOY, FIXTURES / 'v0.1/pretrain_lomar.pth', photographs]
    line += ['--out', tmp_path / 'out', '--cfg-options', *options, 'value_range=[0,1]']
    assert main(list(map(str, line))) == 1
    assert '00.tif is a TIFF file other than 8-bit RGB: pip install' in capsys.readouterr().err
    assert len([*(tmp_path / 'out').glob('*.png')]) == len([*photographs.iterdir()]) - 1


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


@pytest.mark.parametrize('splits', [['val'], ['val', 'train'], []])
def test_detections_of_wrapped_datasets(shapes, tmp_path, capsys, splits):
    results, path = tmp_path / 'segm.json', tmp_path / 'config.py'
    coco = json.loads((shapes / 'annotations/val.json').read_text())
    results.write_text(json.dumps(coco['annotations']))
    cfg = read_config(DETECTOR)
    part = dict(cfg.test_dataloader.dataset, data_root=str(shapes))
    parts = [
        dict(part, ann_file=f'annotations/{split}.json', data_prefix=dict(img=split))
        for split in splits
    ]
    cfg.test_dataloader.dataset = dict(type='ConcatDataset', datasets=parts)
    if not splits:
        cfg.pop('test_dataloader')
    cfg.dump(path)
    line = ['browse', str(path), '--detections', str(results), '--out', str(tmp_path / 'a.png')]
    given = ['--val-ann', str(shapes / 'annotations/val.json'), '--val-images', str(shapes / 'val')]
    for flags, fits in (([], len(splits) == 1), (given, True)):
        assert main([*line, *flags, '--overwrite']) == (0 if fits else 1)
        printed = capsys.readouterr()
        message = f'test_dataloader.dataset of the config has {len(splits)} annotation files'
        assert f'detections on {shapes}/val in' in printed.out if fits else message in printed.err


@pytest.mark.parametrize('number', [1, 2])
def test_wrapped_training_images(photographs, tmp_path, capsys, number):
    other, path = tmp_path / 'other', tmp_path / 'config.py'
    shutil.copytree(photographs, other)
    cfg = read_config(TOY)
    part = dict(cfg.train_dataloader.dataset, data_root=str(photographs))
    inner = dict(type='ConcatDataset', datasets=[dict(part) for _ in range(number)])
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=inner)
    cfg.dump(path)
    line = ['browse', str(path), '--num-images', '2', '--out', str(tmp_path / 'a.png')]
    assert main(line) == 0
    assert f'2 images of {photographs} in' in capsys.readouterr().out
    flags = ['--train-images', str(other)]
    assert main([*line, *flags, '--overwrite']) == (0 if number == 1 else 1)
    printed = capsys.readouterr()
    if number == 1:
        assert f'2 images of {other} in' in printed.out
        cfg = train_config(parse_args(['train', str(path), *flags]))
        assert cfg.train_dataloader.dataset.dataset.datasets[0].data_root == str(other)
        assert 'data_root' not in cfg.train_dataloader.dataset
        shutil.rmtree(other)
        with pytest.raises(FileNotFoundError, match='other does not exist'):
            train_config(parse_args(['train', str(path), *flags]))
    else:
        message = 'train_dataloader.dataset combines 2; allowed: one dataset, or data_root of each'
        assert message in printed.err


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
