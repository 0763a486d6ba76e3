"""Checkpoints that earlier versions wrote: tested, resumed, embedded and transferred today."""

import json

import numpy as np
import pytest
import torch
from conftest import FIXTURES
from old_checkpoints import MODELS_OF, answers, arguments, build, make_shapes
from processes import run_lomar

import lomar
from lomar.checkpoints import load_file
from lomar.cli import parse_args
from lomar.engine import Runner, train_config

VERSIONS = sorted(path.name for path in FIXTURES.glob('v*'))
CASES = [(version, name) for version in VERSIONS for name in MODELS_OF]
# float32 sums in another order, through two blocks and a detector's heads.
TOLERANCE = dict(rtol=1e-4, atol=1e-5)


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp('old') / 'shapes', 16)


def run(line):
    runner = Runner.from_cfg(train_config(parse_args(['train', *line])))
    runner.train()
    return runner


def test_there_are_checkpoints():
    assert VERSIONS == ['v0.1']


@pytest.mark.parametrize(('version', 'name'), CASES)
def test_answers_as_it_did(version, name, shapes):
    path = FIXTURES / version / f'{name}.pth'
    found = answers(name, build(name, shapes, path))
    with np.load(path.with_suffix('.npz')) as expected:
        assert found.keys() == set(expected)
        for key, value in found.items():
            np.testing.assert_allclose(value, expected[key], **TOLERANCE, err_msg=key)


@pytest.mark.parametrize(('version', 'name'), CASES)
def test_is_resumed(version, name, shapes, tmp_path):
    """A second epoch follows the first, with the optimizer's state of every parameter."""
    path = FIXTURES / version / f'{name}.pth'
    line = [*arguments(name, shapes, tmp_path, 2), '--resume', str(path)]
    runner = run(line)
    assert runner.epoch == 2
    steps = [state['step'] for state in runner.optim_wrapper.optimizer.state.values()]
    assert len(steps) == sum(each.requires_grad for each in runner.model.parameters())
    (before,) = {int(each['step']) for each in load_file(path)['optimizer']['state'].values()}
    assert {int(step) for step in steps} == {before + 2}  # 16 images, batches of 8
    names = load_file(path)['state_dict'].keys()
    assert names == load_file(tmp_path / 'epoch_2.pth')['state_dict'].keys()


@pytest.mark.parametrize(
    ('version', 'name'), [case for case in CASES if not case[1].startswith('detector')]
)
def test_is_embedded(version, name, shapes):
    """`lomar.Encoder` gives the features of the backbone in the file; detectors it refuses."""
    path = FIXTURES / version / f'{name}.pth'
    encoder = lomar.Encoder(path, num_heads=4)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    maps = encoder(list(images)).patches
    model = build(name, shapes, path)
    with torch.no_grad():
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        mean, std = encoder.mean.cpu(), encoder.std.cpu()
        inputs = (pixels - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
        if name == 'pretrain_mae':
            expected = model.backbone(inputs, mask=None)[-1][:, 1:]
        else:
            model.backbone.out_type = 'raw'
            expected = model.backbone(inputs)[0][:, int(model.backbone.with_cls_token) :]
    expected = expected.transpose(1, 2).unflatten(2, maps.shape[2:])
    torch.testing.assert_close(maps.cpu(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('method', ['lomar', 'mae'])
@pytest.mark.parametrize('task', ['classifier', 'detector'])
def test_is_transferred(version, method, task, shapes, tmp_path):
    """A fine-tuning starts from it, with the report of what was loaded."""
    start = FIXTURES / version / f'pretrain_{method}.pth'
    run(arguments(f'{task}_{method}', shapes, tmp_path, 1, f'load_from={start}'))
    (log,) = tmp_path.glob('*/*.log')
    assert f'Backbone loaded from {start}' in log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize('version', VERSIONS)
@pytest.mark.parametrize('method', ['lomar', 'mae'])
def test_is_tested_by_the_command(version, method, shapes, tmp_path):
    name = f'detector_{method}'
    config, *_ = arguments(name, shapes, tmp_path, 1)
    options = MODELS_OF[name][1]
    data = ('--val-ann', str(shapes / 'annotations/val.json'), '--val-images', str(shapes / 'val'))
    checkpoint = str(FIXTURES / version / f'{name}.pth')
    command = ('test', config, checkpoint, *data, '--work-dir', tmp_path)
    done = run_lomar(*command, '--cfg-options', *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert set(json.loads((tmp_path / 'metrics.json').read_text())['metrics']) == {'bbox', 'segm'}
