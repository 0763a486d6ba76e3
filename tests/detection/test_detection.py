"""Detection end to end: the real commands at toy size on the embedded dataset."""

import json
import os
import re
import signal
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from PIL import Image
from processes import free_port, run_lomar, without_gpus
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lomar.datasets.replay import InfiniteReplaySampler
from lomar.datasets.shapes import make_shapes
from lomar.detection import CocoAP

CONFIG = ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-scratch_shapes.py'
TOY = [
    'model.backbone.arch.embed_dim=32',
    'model.backbone.arch.depth=2',
    'model.backbone.global_blocks=(1,)',
    'model.neck.in_channels=32',
    'model.roi_head.bbox_head.fc_out_channels=32',
    'model.test_cfg.rcnn.score_thr=0.0',
    'model.test_cfg.rcnn.max_per_img=10',
    'train_dataloader.batch_size=4',
    'train_cfg.max_epochs=1',
    'train_cfg.val_interval=1',
]


def run(name, *arguments, code=0):
    done = run_lomar(name, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def start(tool, *arguments, **options):
    """Start a shell script of tools/, which starts `torchrun`."""
    command = ['bash', ROOT / 'tools' / tool, *arguments]
    environment = {**os.environ, **without_gpus(2), 'PYTHON': sys.executable, 'PORT': free_port()}
    return subprocess.Popen(list(map(str, command)), env=environment, **options)


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('detection') / 'shapes'
    make_shapes(root, 24, 6, 96, 0, workers=1)
    return root


def data(shapes, train=True):
    val = ('--val-ann', shapes / 'annotations/val.json', '--val-images', shapes / 'val')
    if not train:
        return val
    return (
        '--train-ann',
        shapes / 'annotations/train.json',
        '--train-images',
        shapes / 'train',
        *val,
    )


@pytest.fixture(scope='module')
def trained(shapes):
    """A checkpoint of the toy detector after one epoch."""
    work = shapes.parent / 'work'
    text = run('train', CONFIG, *data(shapes), '--work-dir', work, '--cfg-options', *TOY)
    assert 'coco/bbox_mAP' in text and 'coco/segm_mAP' in text
    return work / 'epoch_1.pth'


@pytest.mark.slow
def test_metrics_equal_pycocotools(shapes, trained, tmp_path):
    options = ('--work-dir', tmp_path, '--out', tmp_path / 'out', '--show-dir', tmp_path / 'shown')
    text = run('test', CONFIG, trained, *data(shapes, train=False), *options, '--cfg-options', *TOY)
    assert 'Average Precision' in text
    record = json.loads((tmp_path / 'metrics.json').read_text())
    assert record['images'] == 6 and len(record['checkpoint_sha256']) == 64
    truth = COCO(str(shapes / 'annotations/val.json'))
    for kind in ('bbox', 'segm'):
        evaluation = COCOeval(truth, truth.loadRes(str(tmp_path / f'out/{kind}.json')), kind)
        evaluation.evaluate(), evaluation.accumulate(), evaluation.summarize()
        figures = record['metrics'][kind]
        for place, name in enumerate(('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl')):
            expected = evaluation.stats[place]
            assert figures[name] == (None if expected == -1 else 100 * expected), (kind, name)
        assert len(figures['per_class']) == 12
        present = [value for value in figures['per_class'].values() if value is not None]
        assert sum(present) / len(present) == pytest.approx(figures['AP'])
    pictures = list((tmp_path / 'shown').rglob('*.jpg')) or list(
        (tmp_path / 'shown').rglob('*.png')
    )
    assert len(pictures) == 6 and Image.open(pictures[0]).width >= 96
    run('test', CONFIG, trained, *data(shapes, False), '--work-dir', tmp_path / 'tta', '--tta',
        '--cfg-options', *TOY)  # fmt: skip
    augmented = json.loads((tmp_path / 'tta/metrics.json').read_text())
    assert list(augmented['metrics']) == ['bbox'] and augmented['tta']


def test_ap_of_known_detections(shapes):
    """All found and exact: 100. One class missed: 0 for it. Boxes off by a third: between."""
    coco = json.loads((shapes / 'annotations/val.json').read_text())
    names = [category['name'] for category in coco['categories']]

    def measure(move=0.0, without=None):
        metric = CocoAP(shapes / 'annotations/val.json')
        metric.dataset_meta = dict(classes=names)
        for image in coco['images']:
            own = [one for one in coco['annotations'] if one['image_id'] == image['id']]
            own = [one for one in own if names[one['category_id'] - 1] != without]
            boxes = torch.tensor([one['bbox'] for one in own]).reshape(-1, 4)
            boxes[:, 0] += move * boxes[:, 2]
            boxes[:, 2:] += boxes[:, :2]
            masks = [COCO.annToMask(truth, one) for one in own]
            found = dict(
                bboxes=boxes,
                scores=torch.ones(len(own)),
                labels=torch.tensor([one['category_id'] - 1 for one in own], dtype=torch.long),
                masks=torch.tensor(np.array(masks).reshape(-1, 96, 96), dtype=torch.bool),
            )
            metric.process({}, [dict(img_id=image['id'], pred_instances=found)])
        figures = metric.compute_metrics(metric.results)
        return figures, metric.summary

    truth = COCO(str(shapes / 'annotations/val.json'))
    figures, summary = measure()
    assert figures['bbox_mAP'] == figures['segm_mAP'] == pytest.approx(1)
    present = names[coco['annotations'][0]['category_id'] - 1]
    _, summary = measure(without=present)
    assert summary['bbox']['per_class'].pop(present) == 0
    others = [value for value in summary['bbox']['per_class'].values() if value is not None]
    assert others == pytest.approx([100] * len(others))
    _, moved = measure(move=1 / 3)  # IoU of (2/3) / (4/3) = 0.5
    assert moved['segm']['AP'] == pytest.approx(100) and 0 <= moved['bbox']['AP'] <= 10.1
    assert moved['bbox']['AP75'] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ('more', 'options'), [((), ()), (('--tta',), ('model_wrapper_cfg.type=FullySharded',))]
)
def test_two_processes_measure_what_one_does(more, options, shapes, trained, tmp_path):
    val = (*more, *data(shapes, train=False))
    flags = {
        name: (*val, '--work-dir', tmp_path / name, '--cfg-options', *TOY, *options)
        for name in ('one', 'two')
    }
    run('test', CONFIG, trained, *flags['one'])
    (here := tmp_path / 'here').mkdir()
    assert start('dist_test.sh', CONFIG, trained, 2, *flags['two'], cwd=here).wait() == 0
    assert not any(here.iterdir()), 'the current folder may be read-only'
    one, two = (json.loads((tmp_path / name / 'metrics.json').read_text()) for name in flags)
    assert one['metrics'] == two['metrics']


@pytest.mark.slow
def test_a_killed_rank_ends_the_others(shapes, tmp_path):
    options = ('--work-dir', tmp_path / 'work', '--cfg-options', *TOY, 'train_cfg.max_epochs=500')
    output = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    arguments = (CONFIG, 2, *data(shapes), *options)
    process = start('dist_train.sh', *arguments, start_new_session=True, **output)
    try:
        for line in process.stdout:
            if 'Saving checkpoint' in line or 'Epoch(train)' in line:
                break
        children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
        ranks = [
            int(pid)
            for pid in children
            if b'LOCAL_RANK=1' in Path(f'/proc/{pid}/environ').read_bytes()
        ]
        os.kill(ranks[0], signal.SIGKILL)
        process.communicate(timeout=120)  # until all that write to it have ended
        assert process.returncode != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_pretrained_weights_are_reported_and_wrong_ones_refused(shapes, tmp_path):
    import lomar.models

    lomar_model = lomar.models.LoMaR(
        backbone=dict(
            type='LoMaRViT',
            arch=dict(embed_dim=32, depth=2, num_heads=4),
            img_size=96,
            patch_size=4,
        ),
        windows=dict(),
        head=dict(type='WindowPixelHead'),
    )
    weights = tmp_path / 'lomar.pth'
    torch.save(dict(state_dict=lomar_model.state_dict()), weights)
    line = ('train', CONFIG, *data(shapes), '--work-dir', tmp_path / 'work', '--no-validate')
    text = run(*line, '--cfg-options', *TOY, f'load_from={weights}')
    assert re.search(r'matched +28\n +resized +0\n +missing +0\n', text)
    torch.save(dict(state_dict={'conv1.weight': torch.ones(1)}), weights)
    text = run(*line, '--cfg-options', *TOY, f'load_from={weights}', code=1)
    assert '28 of its weights did not load' in text


def test_the_infinite_sampler_begins_anywhere():
    def draws(start):
        sampler = InfiniteReplaySampler(range(7), shuffle=True, seed=3)
        sampler.start = start
        return [(int(draw), draw.seed) for draw in islice(sampler, 40)]

    whole = draws(0)
    assert draws(10) == [*whole[10:], *draws(40)[:10]]
    assert {index for index, _ in whole[:7]} == set(range(7)) != whole[7:14]
    assert len({seed for _, seed in whole}) == 40


def test_flags_put_a_users_data_into_a_config(shapes):
    from lomar.cli import parse_args
    from lomar.engine import train_config

    arguments = ['train', str(CONFIG), *map(str, data(shapes)), '--cfg-options', 'work_dir=x']
    cfg = train_config(parse_args(arguments))
    assert isinstance(cfg, Config)
    assert (
        cfg.model.roi_head.bbox_head.num_classes == cfg.model.roi_head.mask_head.num_classes == 12
    )
    assert cfg.val_evaluator.ann_file == str(shapes / 'annotations/val.json')
