"""Ways to train with less memory or more processes, against one process with the whole batch."""

import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

STEPS = 3
# SGD, because AdamW turns the noise of gradients that are zero on paper into steps of full length.
CONFIG = """
_base_ = '{root}/mmconfigs/shapes/vit-tiny_scratch_1xb32-coslr-16e_shapes.py'
model = dict(
    backbone=dict(arch=dict(embed_dim=32, depth=2, num_heads=2)), head=dict(in_channels=32)
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=0.05, momentum=0.9, weight_decay=0.05)
)
param_scheduler = []
"""


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Train for a few steps of 16 images in all; weights by name. Options go to --cfg-options."""
    folder = tmp_path_factory.mktemp('scale')
    config = folder / 'config.py'
    config.write_text(CONFIG.format(root=ROOT))
    make = [sys.executable, str(ROOT / 'tools/make_shapes.py'), '--out', str(folder / 'shapes')]
    subprocess.run([*make, '--train', str(16 * STEPS), '--val', '8'], check=True)
    trained = {}

    def train(*options, batch=16, processes=1):
        key = (*options, batch, processes)
        if key not in trained:
            work = folder / str(len(trained))
            start = [sys.executable, str(ROOT / 'tools/train.py'), str(config)]
            if processes > 1:
                start = [str(ROOT / 'tools/dist_train.sh'), str(config), str(processes)]
            data = ['--train-images', str(folder / 'shapes/annotations/train.txt'), '--no-validate']
            always = ['train_cfg.max_epochs=1', f'train_dataloader.batch_size={batch}']
            path = f'{os.path.dirname(sys.executable)}:{os.environ["PATH"]}'
            subprocess.run(
                [*start, *data, '--work-dir', str(work), '--cfg-options', *always, *options],
                env={**os.environ, 'OMP_NUM_THREADS': '1', 'PORT': '29641', 'PATH': path},
                check=True,
            )
            trained[key] = torch.load(work / 'epoch_1.pth', weights_only=False)['state_dict']
        return trained[key]

    return train


def distance(one, other, initial):
    """Length of the difference over the length of the way from the initial weights."""
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
    ],
    ids=['accumulation', 'checkpointing', 'two processes', 'bf16 gradients'],
)
def test_equal_weights_after_a_few_steps(options, run, tolerance, weights):
    initial = weights('optim_wrapper.optimizer.lr=0')
    assert distance(weights(*options, **run), weights(), initial) < tolerance


@pytest.mark.slow
def test_gradients_are_compressed(weights):
    compressed = weights('model_wrapper_cfg.type=BFloat16DataParallel', batch=8, processes=2)
    plain = weights(batch=8, processes=2)
    assert any(not torch.equal(compressed[name], plain[name]) for name in plain)
