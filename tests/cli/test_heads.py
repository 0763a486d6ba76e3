"""Every detector through every command, from tiny random weights and a few images."""

import json

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.registry import MODELS
from processes import run_lomar

import lomar
from lomar.checkpoints import load_file
from lomar.cli import main
from lomar.datasets.shapes import make_shapes
from tests.heads import HEADS

# A backbone of one block, and heads with few queries.
SMALL = """
_base_ = '{root}/mmconfigs/{config}.py'
model = dict(backbone=dict(arch=dict(depth=1), global_blocks=(0,)))
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
val_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-4))
"""
# FCOS begins with scores of 0.01, and keeps those from 0.05 on.
LOW = 'model.test_cfg.score_thr=0.0'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """A folder with four images to train and two to test on, three classes, and a pretraining."""
    folder = tmp_path_factory.mktemp('heads')
    make_shapes(folder / 'data/shapes', 4, 2, 64, 0, workers=1, categories='texture')
    arch = dict(embed_dim=128, depth=1, num_heads=4)
    pretrained = MODELS.build(
        dict(type='LoMaRViT', arch=arch, img_size=64, patch_size=4, in_channels=3)
    )
    torch.save(dict(state_dict=pretrained.state_dict()), folder / 'pretrained.pth')
    return folder


@pytest.fixture(scope='module')
def trained(data):
    """Return the config and the checkpoint of one epoch of a detector, trained once."""
    done = {}

    def train(kind):
        if kind not in done:
            config = data / f'{kind}.py'
            name = HEADS[kind].shapes('lomar', kind)
            config.write_text(SMALL.format(root=ROOT, config=name))
            out = data / f'work_{kind}'
            line = ['train', config, '--epochs', '1', '--work-dir', out, *files(data)]
            line += ['--cfg-options', f'load_from={data / "pretrained.pth"}']
            line += [LOW] if kind == 'fcos' else []
            result = run_lomar(*line, cwd=data)
            assert not result.returncode, result.stderr[-2000:]
            done[kind] = config, out / 'epoch_1.pth', result.stdout + result.stderr
        return done[kind]

    return train


def files(data):
    """Return the options for the data of a training."""
    shapes = data / 'data/shapes'
    return [
        *('--train-ann', shapes / 'annotations/train.json', '--train-images', shapes / 'train'),
        *evaluated(data),
    ]


def evaluated(data):
    shapes = data / 'data/shapes'
    return ['--val-ann', shapes / 'annotations/val.json', '--val-images', shapes / 'val']


@pytest.mark.slow
@pytest.mark.parametrize('kind', HEADS)
def test_every_command(kind, data, trained, tmp_path):
    config, checkpoint, log = trained(kind)
    masks = HEADS[kind].masks
    # Training: the transfer report, the classes of the file, and a finite loss.
    assert 'matched' in log and 'nan' not in log.lower()
    meta = load_file(checkpoint)['meta']
    assert len(meta['dataset_meta']['classes']) == 3
    # Test: AP of boxes, and of masks if there are any; with flipped images, too.
    line = ['test', config, checkpoint, *evaluated(data)]
    result = run_lomar(*line, '--out', tmp_path / 'out', '--work-dir', tmp_path / 'test', cwd=data)
    assert not result.returncode, result.stderr[-2000:]
    (metrics,) = (tmp_path / 'test').rglob('metrics.json')
    assert set(json.loads(metrics.read_text())['metrics']) >= {'bbox', *(['segm'] if masks else [])}
    result = run_lomar(*line, '--tta', '--work-dir', tmp_path / 'tta', cwd=data)
    assert not result.returncode, result.stderr[-2000:]
    # Prediction and Python.
    images = data / 'data/shapes/val'
    predict = ['predict', checkpoint, images, '--out', tmp_path / 'found', '--threshold', '0']
    result = run_lomar(*predict, cwd=data)
    assert not result.returncode, result.stderr[-2000:]
    found = json.loads((tmp_path / 'found/predictions.json').read_text())
    assert found and all(('segmentation' in one) == masks for one in found)
    detector = lomar.Detector(checkpoint, device='cpu')
    image = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    (objects,) = detector([image], threshold=0.0)
    assert len(objects.boxes) and (objects.masks is not None) == masks
    assert not masks or objects.masks.shape == (len(objects.boxes), 50, 80)
    # Publication: the folder predicts the same.
    assert main(['publish', str(checkpoint), str(tmp_path / 'published')]) == 0
    (same,) = lomar.Detector(tmp_path / 'published', device='cpu')([image], threshold=0.0)
    assert np.array_equal(same.boxes, objects.boxes) and same.names == objects.names
    # Checks and costs.
    assert main([*map(str, ['check', config, *files(data)])]) == 0
    assert main(['cost', str(config), '--num-images', '64']) == 0
    assert main(['cost', HEADS[kind].coco('mae', kind)]) == 0
