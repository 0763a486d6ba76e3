"""Embedding images with weights alone: whose they are, and what images may be."""

from argparse import Namespace

import numpy as np
import pytest
import timm
import torch
from conftest import randomised, tiny_lomar
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

import lomar
from lomar.checkpoints import TransferError, from_official
from lomar.checkpoints.architecture import read_architecture
from lomar.datasets import UnreadableImage
from lomar.models import RPEViT

UNIT = dict(mean=(0, 0, 0), std=(1, 1, 1), device='cpu')


@pytest.fixture
def save(tmp_path):
    """Save a checkpoint and return its path."""

    def write(content):
        torch.save(content, tmp_path / 'checkpoint.pth')
        return tmp_path / 'checkpoint.pth'

    return write


@pytest.fixture
def encoder(save):
    return lomar.Encoder(save(dict(state_dict=randomised(tiny_lomar()).state_dict())), 'cpu')


def pixels(height=64, width=64, seed=0, number=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (number, 3, height, width), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def tokens(backbone, images):
    """Patch tokens (B, L, D) of float images."""
    return backbone.eval()(images)[0][:, 1:]


def test_official_classifier(official, save):
    arrays, weights, _ = official('official_classify_tiny.npz')
    encoder = lomar.Encoder(save(dict(model=weights, args=Namespace(lr=1), epoch=3)), **UNIT)
    pooled, _ = encoder._encode(arrays['images'])
    torch.testing.assert_close(pooled, arrays['features'], atol=1e-5, rtol=1e-5)
    assert 'fc_norm.weight' in encoder.report.matched
    assert sorted(encoder.report.left_out) == ['head.bias', 'head.weight']


def test_official_pretraining(official, save):
    _, weights, _ = official('official_pretrain_tiny.npz')
    encoder = lomar.Encoder(save(dict(model=weights)), **UNIT)
    model = tiny_lomar()
    model.load_state_dict(from_official(weights, 'pretrain'))
    expected = tokens(model.backbone, pixels().float())
    features = encoder(pixels())
    torch.testing.assert_close(features.pooled, expected.mean(dim=1))
    assert features.patches.shape == (2, 48, 8, 8)
    torch.testing.assert_close(features.patches.flatten(2).transpose(1, 2), expected)
    assert encoder(pixels(), patches=False).patches is None


@pytest.mark.parametrize(
    ('backbone', 'given'),
    [
        (dict(rpe=dict(on='qkv')), {}),
        (dict(rpe=dict(on='v')), {}),
        (dict(rpe=dict(method='cross', shared_heads=False, on='qk')), {}),
        (dict(rpe=dict(mode='bias', shared_heads=False)), {}),
        (dict(rpe=dict(mode='bias')), dict(num_heads=3)),
        (dict(rpe=dict(method='quant')), dict(rpe=dict(method='quant'))),
        (dict(rpe=dict(ratio=2.0)), dict(rpe=dict(ratio=2.0))),
        (dict(patch_size=16, arch=dict(embed_dim=48, depth=2, num_heads=6, mlp_ratio=2)), {}),
        (dict(with_cls_token=False), {}),
    ],
)
def test_the_weights_tell_the_architecture(save, backbone, given):
    settings = dict(type='LoMaRViT', arch=lomar_arch(), img_size=64, patch_size=8) | backbone
    source = randomised(MODELS.build(settings)).eval()
    encoder = lomar.Encoder(save(source.state_dict()), **given, **UNIT)
    images = pixels(48, 80) // 64
    with torch.no_grad():
        expected = source(images.float())[0][:, int(source.with_cls_token) :].mean(dim=1)
    torch.testing.assert_close(encoder(images).pooled, expected)


def lomar_arch():
    return dict(embed_dim=48, depth=3, num_heads=3)


def test_mae_of_mmpretrain(save):
    init_default_scope('mmpretrain')
    arch = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=192)
    source = MODELS.build(dict(type='MAEViT', arch=arch, img_size=64, patch_size=8))
    randomised(source).eval()
    path = save(dict(state_dict={f'backbone.{k}': v for k, v in source.state_dict().items()}))
    with pytest.raises(ValueError, match=r'no standard model has width 48 and depth 3 .*: give'):
        lomar.Encoder(path)
    features = lomar.Encoder(path, num_heads=3, **UNIT)(pixels())
    with torch.no_grad():
        expected = source(pixels().float(), mask=None)[-1][:, 1:]
    torch.testing.assert_close(features.pooled, expected.mean(dim=1))


def test_timm_whose_widths_tell_the_heads(save):
    source = randomised(timm.create_model('vit_tiny_patch16_224', img_size=32)).eval()
    encoder = lomar.Encoder(save(source.state_dict()), **UNIT)
    images = pixels(32, 32) // 64
    with torch.no_grad():
        expected = source.forward_features(images.float())[:, 1:].mean(dim=1)
    torch.testing.assert_close(encoder(images).pooled, expected, atol=1e-4, rtol=1e-4)


def test_a_standard_width_of_another_depth_does_not_tell_the_heads(save):
    """192 is the width of a ViT-tiny with 3 heads; this model has 2, and its shapes are equal."""
    arch = dict(embed_dim=192, depth=2, num_heads=2)
    source = randomised(RPEViT(arch, 32, 16, position='absolute')).eval()
    path = save(source.state_dict())
    with pytest.raises(ValueError, match=r'no standard model has width 192 and depth 2 .*: give'):
        lomar.Encoder(path)
    maps = lomar.Encoder(path, num_heads=2, **UNIT)(pixels(32, 32)).pooled
    with torch.no_grad():
        expected = source(pixels(32, 32).float())[0][:, 1:].mean(dim=1)
    torch.testing.assert_close(maps, expected, atol=1e-4, rtol=1e-4)


def test_positions_of_a_grid_that_is_not_square_are_refused(save):
    arch = dict(embed_dim=48, depth=2, num_heads=3)
    weights = RPEViT(arch, (32, 64), 8, position='absolute').state_dict()
    with pytest.raises(ValueError, match='pos_embed has 32 places, which is no square grid'):
        lomar.Encoder(save(weights), num_heads=3)
    with pytest.raises(ValueError, match='pos_embed has 32 places, which is no square grid'):
        read_architecture(weights, 3)


def test_any_kind_of_image_gives_the_same(encoder, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    image = pixels(50, 70)[0]
    array = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(array)
    picture.save(tmp_path / 'a.png')
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6  # to be turned back
    paths = [tmp_path / 'a.png', str(tmp_path / 'a.png'), '~/a.png']
    kinds = [*paths, picture, turned, array, image]
    features = encoder(kinds)
    mean, std = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]])[..., None, None]
    cropped = (image[:, 1:49, 3:67] - mean) / std  # the middle 48 x 64 of 50 x 70
    (expected,) = encoder.backbone(cropped[None])
    torch.testing.assert_close(features.pooled, expected.mean(dim=(2, 3)).expand(7, -1))
    assert features.patches.shape == (7, 48, 6, 8)
    # A constant picture stays constant whatever it is resized from; a corner is cropped away.
    half = torch.zeros(3, 30, 90, dtype=torch.uint8)
    half[..., 30:60] = 255
    white = torch.full((3, 24, 24), 255, dtype=torch.uint8)
    torch.testing.assert_close(*encoder([half, white], size=24).pooled, atol=0.05, rtol=0)


def test_images_are_resized_by_pillow(encoder):
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (100, 150, 3), dtype=np.uint8))
    small = picture.resize((48, 32), Image.BICUBIC)
    assert torch.equal(encoder([picture], size=(32, 48)).pooled, encoder([small]).pooled)


@pytest.mark.gpu
def test_images_on_a_gpu_of_which_one_is_resized(encoder):
    images = [pixels(side, side, number=1)[0].cuda() for side in (64, 32)]
    together = encoder(images, size=64)
    expected = encoder([image.cpu() for image in images], size=64)
    torch.testing.assert_close(together.pooled, expected.pooled)


def test_numbers_of_numpy(encoder, save):
    images = [pixels(50, 70)[0], pixels(70, 50)[0]]
    for given, expected in ((np.int64(48), 48), (np.array([24, 48]), (24, 48))):
        found = encoder(images, np.uint8(1), size=given)
        assert torch.equal(found.patches, encoder(images, 1, size=expected).patches)
    weights = RPEViT(lomar_arch(), 64, 8, in_channels=1).state_dict()
    one = lomar.Encoder(save(weights), 'cpu', np.int64(3), mean=np.float32(4), std=np.array(2.0))
    assert (one.mean.tolist(), one.std.tolist()) == ([4], [2])
    same = lomar.Encoder(save(weights), 'cpu', 3, mean=one.mean, std=one.std)
    assert same.mean.equal(one.mean) and same.std.equal(one.std)


def test_sizes_mix_and_keep_their_order(encoder):
    images = [pixels(side, 64, seed=side, number=1)[0] for side in (64, 32, 40, 64, 32)]
    alone = [encoder([image]) for image in images]
    for batch_size in (2, 64):
        together = encoder((image for image in images), batch_size)
        assert len(together.pooled) == len(together.patches) == 5
        for i, features in enumerate(alone):
            torch.testing.assert_close(together.pooled[i], features.pooled[0])
            torch.testing.assert_close(together.patches[i], features.patches[0])
    assert encoder(images, size=(32, 64)).patches.shape == (5, 48, 4, 8)
    assert not together.pooled.requires_grad and not encoder.backbone.training


@pytest.mark.parametrize(
    ('images', 'size', 'error', 'message'),
    [
        ('a.png', None, TypeError, 'images is a single str; allowed: a list'),
        (pixels()[0], None, TypeError, 'images is a single Tensor'),
        (['absent.png'], None, UnreadableImage, 'absent.png'),
        ([pixels()[0] / 255], None, ValueError, r'a tensor is torch\.float32; allowed: uint8'),
        ([None], None, TypeError, 'an image is NoneType'),
        ([pixels()[0, :2]], None, ValueError, r'the shape \(2, 64, 64\); allowed: \(1, H'),
        ([pixels(7, 64)[0]], None, ValueError, '7 x 64 pixels is smaller than a patch of 8'),
        (pixels(), 60, ValueError, 'size is 60 x 60; allowed: multiples of the patch size, 8 p'),
        (
            pixels(),
            64.0,
            ValueError,
            r'size is 64\.0; allowed: a whole number of pixels, \(height, w',
        ),
        (pixels(), (8, 8, 8), ValueError, r'size is \(8, 8, 8\); allowed: a whole number'),
        (pixels(), '64', ValueError, "size is '64'; allowed: a whole number of pixels"),
        (pixels(), 8192, ValueError, 'has 1,048,576 patches of 8 pixels; allowed: 65,536, with'),
        ([np.zeros((8192, 8192, 3), np.uint8)], None, ValueError, 'allowed: 65,536, with a smal'),
    ],
)
def test_refuses_images(encoder, images, size, error, message):
    with pytest.raises(error, match=message):
        encoder(images, size=size)


@pytest.mark.parametrize('batch_size', [0, 2.0, '2', True, np.float64(2)])
def test_refuses_batch_sizes(encoder, batch_size):
    with pytest.raises(ValueError, match=r'Encoder\.batch_size is .*; allowed: .*1 or more'):
        encoder(pixels(), batch_size)


def test_refuses_weights(save):
    source = randomised(tiny_lomar()).backbone.state_dict()

    def refused(weights, error, message, **given):
        with pytest.raises(error, match=message):
            lomar.Encoder(save(weights), **given)

    refused({'conv1.weight': torch.zeros(1)}, ValueError, 'no weights of a vision transformer')
    lost = {name: v for name, v in source.items() if name != 'blocks.1.attn.proj.bias'}
    refused(lost, TransferError, r'(?s)checkpoint\.pth: .*missing +1 +blocks\.\*\.attn\.proj\.bias')
    more = {**source, 'blocks.0.ls1.gamma': torch.zeros(48)}
    refused(more, TransferError, r'(?s)unexpected +1 +blocks\.\*\.ls1\.gamma')
    refused(source, TransferError, r'lookup_table_weight \(1, 16, 50\)', num_heads=6)
    refused(source, ValueError, 'with 50 buckets are not those of', rpe=dict(ratio=2.0))
    detector = {name: v for name, v in source.items() if not name.startswith('norm.')}
    refused(detector, ValueError, 'weights of a detector, .*one that the detector was trained from')
    four = RPEViT(lomar_arch(), 64, 8, in_channels=4).state_dict()
    refused(four, ValueError, 'take 4 channels, and mean and std have 0 and 0 numbers')
    refused(four, ValueError, r'std is \[1.0, 1.0, 0.0, 1.0\];', mean=[1] * 4, std=[1, 1, 0, 1])
    encoder = lomar.Encoder(save(four), 'cpu', mean=np.ones(4), std=[2] * 4)
    assert encoder([np.zeros((16, 24, 4), np.uint8)]).patches.shape == (1, 48, 2, 3)
