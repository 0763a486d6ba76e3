"""Equality with the original code, whose tiny models and their outputs are in fixtures/."""

import numpy as np
import pytest
import torch
from conftest import FIXTURES, TINY_ARCH, tiny_lomar
from mmengine.registry import MODELS, init_default_scope

from lomar.checkpoints import from_official
from lomar.models import rpe

# Float32 sums in another order differ by about 1e-6 of the largest value.
RELATIVE = 1e-5


def assert_near(actual, expected):
    assert (actual - expected).abs().max() <= RELATIVE * expected.abs().max()


def test_pretraining(official):
    arrays, weights, gradients = official('official_pretrain_tiny.npz')
    model = tiny_lomar()
    model.load_state_dict(from_official(weights, 'pretrain'), strict=True)
    images, windows, masked = arrays['images'], arrays['windows'], arrays['mask']
    prediction = model.predict(images, windows, masked)
    assert_near(prediction, arrays['pred'])
    loss = model.window_loss(images, prediction, windows, masked)
    assert loss.item() == pytest.approx(arrays['loss'].item(), rel=RELATIVE)
    loss.backward()
    parameters = dict(model.named_parameters())
    gradients = from_official(gradients, 'pretrain')
    assert len(gradients) == 8
    for name, expected in gradients.items():
        assert_near(parameters[name].grad, expected)


def test_classifier(official):
    arrays, weights, gradients = official('official_classify_tiny.npz')
    init_default_scope('mmpretrain')
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(
                type='RPEViT', arch=TINY_ARCH, img_size=64, patch_size=8, out_type='avg_featmap'
            ),
            head=dict(type='LinearClsHead', num_classes=10, in_channels=48),
        )
    )
    model.load_state_dict(from_official(weights, 'classifier'), strict=True)
    assert_near(model.extract_feat(arrays['images'])[-1], arrays['features'])
    logits = model(arrays['images'])
    assert_near(logits, arrays['logits'])
    logits.square().mean().backward()
    parameters = dict(model.named_parameters())
    assert len(gradients) == 5
    for name, expected in gradients.items():
        assert_near(parameters[f'backbone.{name}'].grad, expected)


def test_buckets():
    tables = np.load(FIXTURES / 'official_rpe_buckets.npz')
    assert len(tables) == 11
    for key, expected in tables.items():
        method, grid = key.rsplit('_', 1)
        height, width = map(int, grid.split('x'))
        assert np.array_equal(rpe.bucket_ids(method, height, width), expected), key
        without_cls = rpe.bucket_ids(method, height, width, cls_token=False)
        assert np.array_equal(without_cls, expected[1:, 1:]), key


def test_batch_sampling_repeats_the_layout_of_the_release():
    # Run with the original code: 4 images and 4 windows, one window an image; 5 and 4, all four.
    def distinct(batch):
        model = tiny_lomar(windows=dict(number=4, sampling='batch'))
        windows, _ = model.sample(torch.zeros(batch, 3, 64, 64), torch.Generator().manual_seed(0))
        assert len({tuple(w) for w in windows.flatten(0, 1).tolist()}) == 4
        return [len({tuple(w) for w in image}) for image in windows.tolist()]

    assert distinct(4) == [1] * 4
    assert distinct(8) == [1] * 8
    assert distinct(5) == [4] * 5
    assert distinct(6) == [2] * 6
