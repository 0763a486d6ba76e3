"""Ways to train with less memory or more processes, against one process with the whole batch."""

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import MODEL_WRAPPERS
from PIL import Image
from processes import run_lomar, run_ranks
from torch import nn

from lomar.checkpoints.files import load_file
from lomar.datasets.folder_walk import holds_pictures
from lomar.datasets.shapes import make_shapes
from lomar.engine import Runner
from lomar.engine.distributed import shard

STEPS = 3
# SGD, because AdamW turns the noise of gradients that are zero on paper into steps of full length.
CONFIG = """
_base_ = '{root}/mmconfigs/shapes/{base}.py'
model = dict(backbone=dict(arch=dict(embed_dim=32, depth=2, num_heads=2)), {model})
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.05, momentum=0.9, weight_decay=0.05)
)
param_scheduler = []
"""
CONFIGS = dict(
    classify=dict(
        base='vit-tiny_scratch_1xb32-coslr-16e_shapes', model='head=dict(in_channels=32)'
    ),
    pretrain=dict(base='lomar_vit-tiny-p4_1xb32-coslr-8e_shapes', model=''),
)


def run_train(*words, processes=1):
    if processes > 1:
        command = ('-m', 'lomar', 'train', *words, '--launcher', 'pytorch')
        done = run_ranks(*command, count=processes)
    else:
        done = run_lomar('train', *words)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope='module')
def train(tmp_path_factory):
    """Train for epochs of a few steps of 16 images in all; options go to --cfg-options.

    Returns the checkpoint's path; asked for the same again, the same.
    """
    folder = tmp_path_factory.mktemp('scale')
    for name, parts in CONFIGS.items():
        (folder / f'{name}.py').write_text(CONFIG.format(root=ROOT, **parts))
    make_shapes(folder / 'shapes', 16 * STEPS, 8, 64, 0, workers=1)
    trained = {}

    def train(*options, task='classify', batch=16, processes=1, epochs=1, resume=None):
        key = (*options, task, batch, processes, epochs, resume)
        if key not in trained:
            work = folder / str(len(trained))
            config = folder / f'{task}.py'
            data = []
            for split in ('train', 'val'):
                place = (
                    f'shapes/annotations/{split}.txt' if task == 'classify' else f'shapes/{split}'
                )
                data += [f'--{split}-images', str(folder / place)]
            data += ['--resume', str(resume), '--accept-changes'] if resume else []  # more epochs
            always = [f'train_cfg.max_epochs={epochs}', f'train_dataloader.batch_size={batch}']
            flags = [*data, '--work-dir', work, '--cfg-options', *always, *options]
            run_train(config, *flags, processes=processes)
            trained[key] = work / f'epoch_{epochs}.pth'
        return trained[key]

    return train


def weights(checkpoint):
    return load_file(checkpoint)['state_dict']


def distance(one, other, start):
    """Length of the difference of checkpoints over that of the way from another one."""
    one, other, initial = map(weights, (one, other, start))
    assert one.keys() == other.keys()
    apart = sum((one[name] - other[name]).square().sum() for name in one)
    way = sum((one[name] - initial[name]).square().sum() for name in one)
    return (apart / way).sqrt().item()


@pytest.mark.slow
@pytest.mark.parametrize(
    ('options', 'run', 'tolerance'),
    [
        # Sums in another order: 24 bits, some thousand additions.
        (['optim_wrapper.accumulative_counts=2'], dict(batch=8), 1e-4),
        (['model.backbone.with_cp=True'], {}, 1e-6),
        ([], dict(batch=8, processes=2), 1e-4),
        # Eight bits, 4e-3, of each gradient.
        (
            ['model_wrapper_cfg.type=BFloat16DataParallel'],
            dict(batch=8, processes=2),
            1e-2,
        ),
        (['model_wrapper_cfg.type=FullySharded'], dict(batch=8, processes=2), 1e-4),
    ],
    ids=['accumulation', 'checkpointing', 'two processes', 'bf16 gradients', 'sharded'],
)
def test_equal_weights_after_a_few_steps(options, run, tolerance, train):
    initial = train('optim_wrapper.optimizer.lr=0')
    assert distance(train(*options, **run), train(), initial) < tolerance


@pytest.mark.slow
def test_gradients_are_compressed(train):
    compressed, plain = (
        weights(train(*options, batch=8, processes=2))
        for options in (['model_wrapper_cfg.type=BFloat16DataParallel'], [])
    )
    assert any(not torch.equal(compressed[name], plain[name]) for name in plain)


@pytest.mark.slow
def test_sharded_checkpoints_are_like_any_other(train):
    """A run begun by one process is continued sharded, and the other way round."""
    whole = train(epochs=2)
    sharded = ['model_wrapper_cfg.type=FullySharded']
    first = train(*sharded, batch=8, processes=2)
    assert distance(train(epochs=2, resume=first), whole, first) < 1e-4
    continued = train(*sharded, batch=8, processes=2, epochs=2, resume=train())
    assert distance(continued, whole, first) < 1e-4
    # Momentum is there to the last parameter.
    one, other = (load_file(path)['optimizer'] for path in (continued, whole))
    assert one['state'].keys() == other['state'].keys()
    for index, state in other['state'].items():
        assert one['state'][index]['momentum_buffer'].shape == state['momentum_buffer'].shape


@pytest.mark.slow
def test_sharded_pretraining_draws_its_pictures(train):
    """Of two sharded processes as of two others: the same weights, and the same picture."""
    initial = train('optim_wrapper.optimizer.lr=0', task='pretrain')
    options = dict(task='pretrain', batch=8, processes=2)
    sharded, plain = train('model_wrapper_cfg.type=FullySharded', **options), train(**options)
    assert distance(sharded, plain, initial) < 1e-4
    pictures = []
    for checkpoint in (sharded, plain):
        (path,) = (checkpoint.parent / 'reconstructions').glob('*.png')
        assert holds_pictures(path.parent), 'the next training does not train on it'
        pictures.append(np.asarray(Image.open(path), dtype=int))
    assert pictures[0].std() > 10
    assert abs(pictures[0] - pictures[1]).max() <= 2  # rounded from weights that differ by 1e-4


@pytest.mark.slow
def test_a_detector_of_an_earlier_version_is_resumed_by_two_processes(tmp_path):
    """Its table of positions is larger than the config's, which no wrapper may find out later."""
    shapes = tmp_path / 'shapes'
    make_shapes(shapes, 16, 8, 64, 0, workers=1)
    data = ['--no-validate', '--work-dir', str(tmp_path)]
    for split in ('train', 'val'):
        data += [f'--{split}-ann', str(shapes / f'annotations/{split}.json')]
        data += [f'--{split}-images', str(shapes / split)]
    sizes = ['model.backbone.img_size=96', 'model.data_preprocessor.pad_size_divisor=96']
    sizes += ['model.backbone.arch.embed_dim=16', 'model.neck.in_channels=16']
    options = ['--cfg-options', 'load_from=None', 'train_dataloader.batch_size=4', *sizes]
    config = str(ROOT / 'mmconfigs/shapes/mask-rcnn_vitdet-tiny-mae_shapes.py')
    earlier = ['model.backbone.pretrain_img_size=None', 'train_cfg.max_epochs=1']
    run_train(config, *data, *options, *earlier)
    later = ['train_cfg.max_epochs=2']
    run_train(config, *data, '--resume', '--accept-changes', *options, *later, processes=2)
    before, after = (weights(tmp_path / f'epoch_{n}.pth')['backbone.pos_embed'] for n in (1, 2))
    assert before.shape == after.shape == (1, (96 // 4) ** 2, 16)
    assert not before.equal(after)


def distributed_runner(monkeypatch):
    """A runner of one of several processes, which are not there."""
    monkeypatch.setattr('lomar.engine.runner.shard', lambda model: model)
    runner = Runner.__new__(Runner)
    runner._distributed, runner._train_loop, runner.cfg = True, None, Config({})
    return runner


def test_sharding_refuses_sliding_windows():
    model = nn.Conv2d(3, 4, 1)
    model.test_cfg = dict(mode='slide')
    with pytest.raises(ValueError, match=r'test_cfg\.mode is slide: .*allowed: .*mode=whole'):
        shard(model)


@pytest.mark.parametrize('given', [None, False])
def test_find_unused_parameters_is_read_beside_a_wrapper(given, monkeypatch):
    class Wrapper(nn.Module):
        def __init__(self, module, **options):
            super().__init__()
            self.options = options

    monkeypatch.setitem(MODEL_WRAPPERS.module_dict, 'Wrapper', Wrapper)
    runner = distributed_runner(monkeypatch)
    runner.cfg.find_unused_parameters = True
    settings = {} if given is None else dict(find_unused_parameters=given)
    wrapped = runner.wrap_model(dict(type='Wrapper', **settings), nn.Conv2d(3, 4, 1))
    assert wrapped.options['find_unused_parameters'] is (given is None)


def test_sharding_keeps_synchronized_batch_norms(monkeypatch):
    """mmengine replaces the batch norms of models that it wraps itself."""
    runner = distributed_runner(monkeypatch)
    for setting, kind in ((None, nn.BatchNorm2d), ('torch', nn.SyncBatchNorm)):
        runner.cfg = Config(dict(sync_bn=setting))
        model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
        assert type(runner.wrap_model(dict(type='FullySharded'), model)[1]) is kind
