"""Experiment trackers: flags, backends by an option, missing packages, runs that are continued."""

import json
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend

from lomar import engine
from lomar.cli import main, parse_args
from lomar.engine import Runner, dry_run, tracker_config, train_config
from lomar.engine.tracker_backends import ResumingMLflowVisBackend, RunIds

CONFIG = ROOT / 'mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'
TOY = [
    'model.backbone.arch.depth=1',
    'model.backbone.arch.embed_dim=32',
    'train_dataloader.batch_size=4',
    'default_hooks.logger.interval=1',
]
LOCAL = dict(type='LocalVisBackend')
WANDB, MLFLOW = 'ResumingWandbVisBackend', 'ResumingMLflowVisBackend'
BACKENDS = 'visualizer.vis_backends'


@VISBACKENDS.register_module()
class SeedingVisBackend(BaseVisBackend):
    """Backend that sets all seeds when its run starts, as ClearML's does."""

    records: list[dict]
    started = 0

    def _init_env(self):
        raise AssertionError('only add_config starts the run')

    @property
    def experiment(self):
        return self

    def add_config(self, config, **kwargs):
        type(self).started += 1
        self.records = []
        random.seed(1337)
        np.random.seed(1337)
        torch.manual_seed(1337)

    def add_scalars(self, scalar_dict, step=0, file_path=None, **kwargs):
        self.records.append({**scalar_dict, 'step': step})


def words(images, work_dir, *flags, epochs=2, options=()):
    base = ['train', str(CONFIG), '--train-images', str(images), '--work-dir', str(work_dir)]
    return [*base, *flags, '--cfg-options', f'train_cfg.max_epochs={epochs}', *TOY, *options]


def backends(*given, **kwargs):
    return train_config(parse_args(words(*given, **kwargs))).visualizer.vis_backends


def logged(work_dir):
    """Return the records of all runs in a work dir, from mmengine's files."""
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


@pytest.fixture
def installed(monkeypatch):
    """All trackers are installed."""
    monkeypatch.setattr(tracker_config, 'find_spec', lambda name: name)


@pytest.mark.parametrize(
    ('flags', 'added'),
    [
        ([], []),
        (['--tensorboard'], [dict(type='TensorboardVisBackend')]),
        (['--wandb'], [dict(type=WANDB, init_kwargs=dict(project='lomar', name='w'))]),
        (['--wandb', 'cells'], [dict(type=WANDB, init_kwargs=dict(project='cells', name='w'))]),
        (
            ['--wandb', 'team/cells'],
            [dict(type=WANDB, init_kwargs=dict(project='cells', name='w', entity='team'))],
        ),
        (['--mlflow'], [dict(type=MLFLOW, exp_name='lomar', run_name='w')]),
        (
            ['--mlflow', 'http://h:1'],
            [dict(type=MLFLOW, exp_name='lomar', run_name='w', tracking_uri='http://h:1')],
        ),
    ],
)
def test_flags_add_a_backend(flags, added, photographs, tmp_path, installed):
    assert backends(photographs, tmp_path / 'w', *flags) == [LOCAL, *added]


@pytest.mark.parametrize(
    ('value', 'found'),
    [
        ('AimVisBackend', [dict(type='AimVisBackend')]),
        ('[LocalVisBackend,NeptuneVisBackend]', [LOCAL, dict(type='NeptuneVisBackend')]),
        (
            "[{'type':'LocalVisBackend'},{'type':'ClearMLVisBackend','init_kwargs':{'a':1}}]",
            [LOCAL, dict(type='ClearMLVisBackend', init_kwargs=dict(a=1))],
        ),
        ('[LocalVisBackend,WandbVisBackend]', [LOCAL, dict(type=WANDB)]),
        ('[LocalVisBackend,MLflowVisBackend]', [LOCAL, dict(type=MLFLOW)]),
        ('None', []),
    ],
)
def test_an_option_names_backends(value, found, photographs, tmp_path, installed):
    assert backends(photographs, tmp_path / 'w', options=[f'{BACKENDS}={value}']) == found


def test_a_flag_replaces_the_backend_that_the_config_has(photographs, tmp_path, installed):
    """The config that a training with the flag saved, once more with the flag."""
    option = [f'{BACKENDS}=[LocalVisBackend,{WANDB},TensorboardVisBackend]']
    found = backends(photographs, tmp_path / 'w', '--wandb', '--tensorboard', options=option)
    names = [node['type'] for node in found]
    assert names == ['LocalVisBackend', 'TensorboardVisBackend', WANDB]
    assert found[-1]['init_kwargs']['name'] == 'w'


@pytest.mark.parametrize(
    ('flags', 'option', 'message'),
    [
        (['--tensorboard'], None, "tensorboard: pip install 'lomar-openmmlab[tensorboard]'"),
        (['--wandb'], None, "wandb: pip install 'lomar-openmmlab[wandb]'"),
        (['--mlflow'], None, "mlflow: pip install 'lomar-openmmlab[mlflow]'"),
        ([], '[LocalVisBackend,WandbVisBackend]', "pip install 'lomar-openmmlab[wandb]'"),
        ([], '[LocalVisBackend,mmengine.MLflowVisBackend]', 'pip install'),
        ([], '[LocalVisBackend,DVCLiveVisBackend]', 'dvclive: pip install dvclive'),
        ([], 'AimVisBackend', 'AimVisBackend needs aim: pip install aim'),
        ([], '[NeptuneVisBackend]', 'NeptuneVisBackend needs neptune: pip install neptune'),
        ([], "[{'type':'ClearMLVisBackend'}]", 'needs clearml: pip install clearml'),
        ([], '[LocalVisBackend,LocalVisBackend]', 'has LocalVisBackend twice; allowed: once'),
        ([], '3', 'has 3; allowed: names of backends, dicts with a type'),
        ([], "[{'name':'x'}]", 'allowed: names of backends, dicts with a type'),
        ([], '[NoBackend]', 'NoBackend is not in the '),
    ],
)
def test_refusals_before_the_first_step(
    flags, option, message, photographs, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tracker_config, 'find_spec', lambda name: None)
    options = [f'{BACKENDS}={option}'] if option else []
    assert main(words(photographs, tmp_path / 'w', *flags, options=options)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('lomar train: ') and message in line
    assert not list((tmp_path / 'w').rglob('*.pth'))


def test_any_backend_has_the_numbers_of_the_log_and_changes_no_weights(photographs, tmp_path):
    models = []
    for name, option in (('plain', []), ('seeding', [f'{BACKENDS}=[LocalVisBackend,Seeding]'])):
        option = [value.replace('Seeding', 'SeedingVisBackend') for value in option]
        cfg = train_config(parse_args(words(photographs, tmp_path / name, options=option)))
        runner = Runner.from_cfg(cfg)
        runner.train()
        models.append(runner.model.state_dict())
    records = runner.visualizer.get_backend('SeedingVisBackend').records
    assert len(records) == 4 and records == logged(tmp_path / 'seeding')
    assert all(torch.equal(value, models[1][key]) for key, value in models[0].items())


def test_a_dry_run_starts_no_run(photographs, tmp_path):
    option = [f'{BACKENDS}=[LocalVisBackend,SeedingVisBackend]']
    before = SeedingVisBackend.started
    dry_run(train_config(parse_args(words(photographs, tmp_path / 'w', options=option))))
    assert SeedingVisBackend.started == before


def test_a_test_does_not_continue_the_run_of_the_training(tmp_path):
    cfg = Config.fromfile(ROOT / 'mmconfigs/shapes/vit-tiny_scratch_1xb32-coslr-16e_shapes.py')
    cfg.visualizer.vis_backends += [dict(type=WANDB), dict(type=MLFLOW)]
    cfg.dump(tmp_path / 'saved.py')
    line = ['test', str(tmp_path / 'saved.py'), str(tmp_path / 'x.pth'), '--print-config']
    assert engine.test_config(parse_args(line)).visualizer.vis_backends == [LOCAL]


@pytest.mark.parametrize(
    ('resume', 'checkpoint', 'found'),
    [
        (True, 'w/epoch_1.pth', 'old'),
        (True, None, 'old'),
        (True, 'other/epoch_1.pth', None),  # another training, perhaps one of several
        (False, None, None),
        (False, 'w/epoch_1.pth', None),  # initial weights
    ],
)
def test_the_run_to_continue(resume, checkpoint, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'w').mkdir()
    (tmp_path / 'w/trackers.json').write_text('{"a": "old", "b": "not this"}')
    ids = RunIds()
    ids.tracker = 'a'
    ids.find_run(Config(dict(work_dir='w', resume=resume, load_from=checkpoint)))
    assert ids.stored_id == found
    ids._store('new')
    stored = json.loads((tmp_path / 'w/trackers.json').read_text())
    assert stored == dict(a='new', b='not this')


def wandb_losses(work_dir, run_id):
    """Return (iteration, loss) from the offline files of W&B, in LevelDB's log format."""
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for file in sorted(work_dir.glob(f'wandb/offline-run-*-{run_id}/*.wandb')):
        data, place, text = file.read_bytes(), 7, b''
        while place + 7 <= len(data):
            if (left := 32768 - place % 32768) < 7:
                place += left
                continue
            _, length, kind = struct.unpack('<IHB', data[place : place + 7])
            text = (b'' if kind in (1, 2) else text) + data[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # complete
                record = Record()
                record.ParseFromString(text)
                row = {item.key or item.nested_key[0]: item for item in record.history.item}
                if 'loss' in row:
                    found.append([float(row[key].value_json) for key in ('iter', 'loss')])
    return found


def mlflow_losses(work_dir, run_id):
    """Return (iteration, loss) from the store of MLflow."""
    from mlflow import MlflowClient

    history = MlflowClient(f'sqlite:///{work_dir}/mlflow.db').get_metric_history(run_id, 'loss')
    return [[metric.step, metric.value] for metric in history]


@pytest.mark.slow
@pytest.mark.parametrize(
    ('tracker', 'losses'), [('wandb', wandb_losses), ('mlflow', mlflow_losses)]
)
def test_a_resumed_training_continues_its_run(tracker, losses, photographs, tmp_path):
    pytest.importorskip(tracker)
    work_dir = tmp_path / 'a b'
    env = dict(os.environ, WANDB_MODE='offline', HOME=str(tmp_path))
    ids = []
    for epochs, resume in ((1, []), (2, ['--resume', '--accept-changes'])):
        line = words(photographs, work_dir, f'--{tracker}', *resume, epochs=epochs)
        # Not forked: W&B's temporary folder belongs to the process that imports W&B first.
        command = [sys.executable, '-m', 'lomar', *line]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        ids.append(json.loads((work_dir / 'trackers.json').read_text()))
    assert ids[0] == ids[1] and [*ids[0]] == [tracker]
    expected = [[one['iter'], one['loss']] for one in logged(work_dir)]
    np.testing.assert_allclose(losses(work_dir, ids[0][tracker]), expected, rtol=1e-12)
    assert len(expected) == 4
    assert {path.name for path in tmp_path.iterdir()} <= {'photographs', 'a b', '.config', '.cache'}


def test_an_error_of_mlflow_is_one_line(tmp_path):
    pytest.importorskip('mlflow')
    backend = ResumingMLflowVisBackend(str(tmp_path), tracking_uri='no-such-store://x')
    with pytest.raises(ValueError, match=r'^mlflow cannot start its run: [^\n]*$'):
        backend.add_config(Config(dict(work_dir=str(tmp_path))))
