"""Shared by the tests: the tiny models of the fixtures and small image folders."""

import os
import subprocess
from pathlib import Path

# Before torch is imported, and inherited by the commands: one thread per process, because tests
# run side by side.
os.environ.setdefault('OMP_NUM_THREADS', '1')
# TEST_DEVICE=cuda runs the tests on a GPU: those that need one, and the others as well.
os.environ.setdefault('TEST_DEVICE', 'cpu')
# To look for a GPU must not initialize CUDA, because the commands are forked.
os.environ['PYTORCH_NVML_BASED_CUDA_CHECK'] = '1'
if os.environ['TEST_DEVICE'] == 'cpu':
    os.environ['CUDA_VISIBLE_DEVICES'] = ''

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

import lomar.register  # noqa: F401

pytest_plugins = ['fault_results']  # what `make faults` records
DEVICE = os.environ['TEST_DEVICE']
if DEVICE not in ('cpu', 'cuda'):
    raise pytest.UsageError(f'TEST_DEVICE is {DEVICE}; allowed: cpu, cuda')
ROOT = Path(__file__).resolve().parents[1]
FIXTURES = Path(__file__).parent / 'fixtures'
TINY_ARCH = dict(embed_dim=48, depth=3, num_heads=3)


def tiny_lomar(backbone=None, windows=None, head=None):
    """A LoMaR of the fixtures' size, with some settings changed."""
    return MODELS.build(
        dict(
            type='LoMaR',
            backbone=dict(
                type='LoMaRViT', arch=TINY_ARCH, img_size=64, patch_size=8, **(backbone or {})
            ),
            windows={**dict(size=3, number=2), **(windows or {})},
            head={'type': 'WindowPixelHead', **(head or {})},
        )
    )


def randomised(module, seed=0):
    """Fill every parameter with noise, tables that start at zero included."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return module


def pytest_collection_modifyitems(items):
    needed = dict(gpu='cuda', cpu='cpu')
    for item in items:
        for mark, device in needed.items():
            if item.get_closest_marker(mark) and device != DEVICE:
                item.add_marker(pytest.mark.skip(f'runs with TEST_DEVICE={device}'))


@pytest.fixture(autouse=True)
def progress_bars():
    """Restore the progress bars, which `main([..., '--quiet'])` switches off in the process."""
    before = os.environ.get('TQDM_DISABLE')
    yield
    if before is None:
        os.environ.pop('TQDM_DISABLE', None)


@pytest.fixture
def official():
    """Read an official fixture: arrays as tensors, weights and gradients under their names."""

    def read(name):
        arrays = {key: torch.from_numpy(a) for key, a in np.load(FIXTURES / name).items()}
        weights = {k[2:]: v for k, v in arrays.items() if k.startswith('w/')}
        gradients = {k[2:]: v for k, v in arrays.items() if k.startswith('g/')}
        return arrays, weights, gradients

    return read


@pytest.fixture
def mae():
    """mmpretrain's MAE at the fixtures' size."""
    init_default_scope('mmpretrain')
    arch = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=192)
    return randomised(
        MODELS.build(
            dict(
                type='MAE',
                backbone=dict(type='MAEViT', arch=arch, img_size=64, patch_size=8),
                neck=dict(
                    type='MAEPretrainDecoder',
                    num_patches=64,
                    patch_size=8,
                    embed_dim=48,
                    decoder_embed_dim=16,
                    decoder_depth=1,
                    decoder_num_heads=2,
                ),
                head=dict(
                    type='MAEPretrainHead',
                    patch_size=8,
                    loss=dict(type='PixelReconstructionLoss', criterion='L2'),
                ),
            )
        )
    )


@pytest.fixture
def photographs(tmp_path):
    """A folder of eight smooth random JPEG images of 40 x 56 pixels."""
    folder = tmp_path / 'photographs'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
        coarse.resize((56, 40), Image.BICUBIC).save(folder / f'{number}.jpg')
    return folder


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    """A folder of 32 training images with labels and objects."""
    from old_checkpoints import make_shapes

    return make_shapes(tmp_path_factory.mktemp('shapes') / 'shapes', 32)


@pytest.fixture
def mounted(tmp_path):
    """Mount an empty file system in memory with some options, and return its folder."""
    folder = tmp_path / 'mounted'

    def mount(options):
        folder.mkdir()
        words = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)]
        done = subprocess.run(words, capture_output=True, text=True)
        if done.returncode:
            folder.rmdir()
            pytest.skip(f'no permission to mount a file system: {done.stderr.strip()}')
        return folder

    yield mount
    if folder.exists():
        subprocess.run(['umount', str(folder)], check=True)
