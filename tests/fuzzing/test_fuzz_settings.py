"""Settings of any value: a dry run of the training works, or says in words what is wrong."""

import itertools
import random

import pytest
from conftest import ROOT
from mmengine.config import Config

from lomar.cli import main

SHAPES = ROOT / 'mmconfigs/shapes'
CONFIGS = dict(
    pretrain=SHAPES / 'lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py',
    classify=SHAPES / 'vit-tiny_lomar_1xb32-coslr-16e_shapes.py',
    detect=SHAPES / 'mask-rcnn_vitdet-tiny-lomar_shapes.py',
)
SMALL = ['model.backbone.arch.depth=1', 'train_dataloader.num_workers=0', 'load_from=None']
VALUES = ('None', '-1', '0', '0.5', '1e400', 'nan', '[]', '[1]', 'a', 'True', '(1,2)', "''", '2**9')
SAMPLED = 15  # pairs of a key and a value per config; all of them take an hour


def keys(node, place=''):
    """Yield the dotted keys of a config, of dicts and of the entries of lists, too."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in pairs:
        yield f'{place}{key}'
        if isinstance(value, (dict, list, tuple)):
            yield from keys(value, f'{place}{key}.')


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('shapes') / 'data'
    assert main(['shapes', '--out', str(folder), '--train', '8', '--val', '4', '--quiet']) == 0
    return folder


def line(kind, data, out, option):
    train, val = str(data / 'train'), str(data / 'val')
    flags = ['--train-images', train, '--work-dir', str(out), '--dry-run']
    if kind == 'detect':
        flags += ['--train-ann', str(data / 'annotations/train.json')]
        flags += ['--val-ann', str(data / 'annotations/val.json'), '--val-images', val]
    options = [*SMALL, 'train_dataloader.batch_size=2', option]
    return ['train', str(CONFIGS[kind]), *flags, '--cfg-options', *options]


def pairs(kind):
    found = keys(Config.fromfile(CONFIGS[kind]).to_dict())
    return sorted(itertools.product(found, VALUES))


# Values that once ended a dry run with a traceback.
FOUND = dict(
    pretrain=[
        *('train_cfg=[1]', 'train_dataloader.dataset=nan', 'train_dataloader.sampler=0.5'),
        *(
            'randomness=None',
            'env_cfg=None',
            'log_level=0.5',
            'visualizer=nan',
            'default_hooks=True',
        ),
        *("custom_hooks.3.type=''", 'custom_hooks.3.max_share=a', 'custom_imports.imports=-1'),
        *("optim_wrapper.optimizer.betas=''", 'optim_wrapper.optimizer.type=True'),
        *('env_cfg.mp_cfg.opencv_num_threads=0.5', 'param_scheduler.1.begin=(1,2)'),
        'train_dataloader.dataset.pipeline.0.crop_ratio_range=[]',
        'train_dataloader.dataset.pipeline.0.scale=1e400',
        'train_dataloader.dataset.pipeline=[]',
    ],
    detect=['default_hooks.checkpoint.save_best=True', 'test_evaluator.metric=1e400'],
)


@pytest.mark.parametrize('kind', FOUND)
def test_settings_that_cannot_work(kind, data, tmp_path, capfd):
    for option in FOUND[kind]:
        assert main(line(kind, data, tmp_path / 'out', option)) in (1, 2), option
        message = capfd.readouterr().err.strip().splitlines()[-1]
        parts = option.partition('=')[0].split('.')
        assert message.startswith('lomar train: '), message
        assert any(part in message for part in parts), message


@pytest.mark.slow
@pytest.mark.parametrize('kind', CONFIGS)
def test_any_setting(kind, data, tmp_path, capfd):
    for key, value in random.Random(0).sample(pairs(kind), SAMPLED):
        try:
            code = main(line(kind, data, tmp_path / 'out', f'{key}={value}'))
        except SystemExit as error:
            code = error.code
        except Exception as error:
            raise AssertionError(f'{key}={value}: {type(error).__name__}: {error}') from error
        err = capfd.readouterr().err
        assert code in (0, 1, 2), (key, value)
        assert code == 0 or 'lomar train: ' in err, (key, value)
