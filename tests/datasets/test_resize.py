"""The antialiased resize: Pillow's pixels of every type and channel, in every pipeline."""

from itertools import product

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, init_default_scope
from PIL import Image, ImageOps

from lomar.datasets.resize import fit_pixels, resize_pixels
from lomar.detection import LargeScaleJitter, Polygons

METHODS = dict(bilinear=Image.BILINEAR, bicubic=Image.BICUBIC)
SIZES = ((6, 5), (23, 70), (97, 120), (60, 50))  # of 60 x 50: smaller, both, larger, the same


def noise(height, width, channels, dtype='uint8', seed=0):
    top = 256 if dtype == 'uint8' else 65536
    rng = np.random.default_rng(seed)
    return rng.integers(0, top, (height, width, channels)).astype(dtype)


@pytest.mark.parametrize(('method', 'size'), product(METHODS, SIZES))
def test_every_channel_is_resized_as_by_pillow(method, size):
    rgb = noise(60, 50, 3)
    expected = np.array(Image.fromarray(rgb).resize(size[::-1], METHODS[method]))
    np.testing.assert_array_equal(resize_pixels(rgb, size, method), expected)
    for dtype, channels in product(('uint8', 'uint16', 'float32'), (1, 2, 4, 13, 16)):
        pixels = noise(60, 50, channels, dtype)
        resized = resize_pixels(pixels, size, method)
        assert resized.shape == (*size, channels) and resized.dtype == dtype
        for channel in range(channels):
            plane = pixels[..., channel] if dtype == 'uint8' else np.float32(pixels[..., channel])
            one = np.array(Image.fromarray(plane).resize(size[::-1], METHODS[method]))
            assert Image.fromarray(plane).mode == ('L' if dtype == 'uint8' else 'F')
            if dtype == 'uint16':
                one = np.uint16(one.round().clip(0, 65535))
            np.testing.assert_array_equal(resized[..., channel], one)


def test_mirrored_pixels_and_what_is_refused():
    pixels = noise(20, 30, 3)
    mirrored = resize_pixels(pixels[:, ::-1], (7, 9), 'bilinear')
    np.testing.assert_array_equal(
        mirrored, resize_pixels(pixels[:, ::-1].copy(), (7, 9), 'bilinear')
    )
    assert mirrored.flags.writeable
    with pytest.raises(TypeError, match='are int64; allowed: uint8, uint16, float32'):
        resize_pixels(np.zeros((4, 4, 3), np.int64), (2, 2))
    with pytest.raises(ValueError, match=r"interpolation is 'area'; allowed: bilinear, bicubic"):
        TRANSFORMS.build(dict(type='AntialiasedResize', scale=(9, 9), interpolation='area'))
    thin = TRANSFORMS.build(dict(type='AntialiasedResize', scale=(20, 20), keep_ratio=True))
    assert thin(dict(img=noise(1000, 3, 3)))['img'].shape == (20, 1, 3)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('scale', 64),
        ('scale', (64, 0)),
        ('ratio_range', (0, 0)),
        ('ratio_range', (-1, 2)),
        ('ratio_range', 'ab'),
        ('ratio_range', (0.1, 1, 2)),
        ('crop_size', 64),
        ('crop_size', (64, -1)),
    ],
)
def test_jitter_names_the_setting_that_it_refuses(name, value):
    settings = dict(scale=(64, 64), ratio_range=(0.1, 2), crop_size=(64, 64))
    with pytest.raises(ValueError, match=rf'Jitter\.{name} is .*; allowed: two numbers above 0'):
        LargeScaleJitter(**settings | {name: value})


def test_mirrored_image_of_one_column():
    # As large as its target: nothing is resized, and the mirrored image is a view.
    init_default_scope('mmdet')
    step = dict(type='LargeScaleJitter', scale=(64, 64), ratio_range=(1, 1), crop_size=(64, 64))
    pipeline = [dict(type='RandomFlip', prob=1.0), step, dict(type='PackDetInputs', meta_keys=())]
    image = noise(64, 1, 3)
    packed = Compose(pipeline)(dict(img=image, img_shape=(64, 1)))
    np.testing.assert_array_equal(packed['inputs'].permute(1, 2, 0), image)


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
@pytest.mark.parametrize(
    'config',
    [
        'detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py',
        'detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco-512px.py',
        'detect/faster-rcnn_vitdet-b_mae_lsj-100e_coco.py',
        'shapes/mask-rcnn_vitdet-tiny-lomar_shapes.py',
    ],
)
def test_detectors_see_the_mean_of_what_is_shrunk(config, split, tmp_path):
    """White noise at a tenth of its size.

    A triangle over 20 x 20 pixels keeps 2 / 30 of its deviation of 74; four pixels keep half.
    """
    cfg = Config.fromfile(ROOT / 'mmconfigs' / config)
    init_default_scope(cfg.default_scope)
    Image.fromarray(noise(600, 600, 3)).save(tmp_path / 'a.png')
    steps = cfg[f'{split}_dataloader'].dataset.pipeline
    for step in steps:
        if 'ratio_range' in step:
            step.update(scale=(600, 600), ratio_range=(0.1, 0.1))
        elif 'scale' in step:
            step.scale = (60, 60)
    one = dict(bbox=[0, 0, 600, 600], bbox_label=0, ignore_flag=0)
    one['mask'] = [[0, 0, 600, 0, 600, 600, 0, 600]]
    sample = dict(img_path=str(tmp_path / 'a.png'), img_id=0, height=600, width=600)
    packed = Compose(steps)(dict(sample, instances=[one]))
    assert packed['inputs'].shape == (3, 60, 60)
    assert packed['inputs'].float().std() == pytest.approx(4.93, abs=0.3)


def test_sizes_are_those_that_detectron2_draws():
    settings = dict(scale=(1024, 1024), ratio_range=(0.1, 2.0), crop_size=(2048, 2048))
    transform = TRANSFORMS.build(dict(type='LargeScaleJitter', **settings))
    rng = np.random.default_rng(0)
    for seed in range(30):
        height, width = rng.integers(100, 640, 2).tolist()
        np.random.seed(seed)
        ratio = np.random.uniform(0.1, 2.0)
        scale = min(1024 * ratio / height, 1024 * ratio / width)
        np.random.seed(seed)
        found = transform(dict(img=np.zeros((height, width, 1), np.uint8)))
        assert found['img_shape'] == found['img'].shape[:2]
        assert found['img_shape'] == (round(height * scale), round(width * scale))


def test_only_the_crop_is_resized():
    """The pixels, boxes and masks of a crop from the whole image at its new size."""
    init_default_scope('mmdet')
    rng = np.random.default_rng(0)
    jitter = TRANSFORMS.build(
        dict(
            type='LargeScaleJitter',
            scale=(150, 150),
            ratio_range=(0.1, 2.0),
            crop_size=(120, 100),
            recompute_bbox=True,
            allow_negative_crop=True,
        )
    )
    crop = TRANSFORMS.build(
        dict(
            type='RandomCrop',
            crop_size=(120, 100),
            recompute_bbox=True,
            allow_negative_crop=True,
        )
    )
    different = []
    for seed in range(40):
        height, width = rng.integers(40, 200, 2).tolist()
        polygon = rng.uniform((0, 0), (width, height), (3, 2)).ravel()
        boxes = HorizontalBoxes([[0, 0, width, height]])
        sample = dict(img=noise(height, width, 3, seed=seed), gt_bboxes=boxes)
        sample.update(gt_masks=Polygons([[polygon]], height, width), gt_bboxes_labels=np.ones(1))
        expected = dict(sample, gt_bboxes=boxes.clone())
        np.random.seed(seed)
        made = jitter(sample)
        np.random.seed(seed)
        ratio = np.random.uniform(0.1, 2.0)
        scale = dict(type='AntialiasedResize', scale=(150 * ratio, 150 * ratio), keep_ratio=True)
        expected = crop(TRANSFORMS.build(scale)(expected))
        assert made['img_shape'] == made['img'].shape[:2] == expected['img_shape']
        for key in ('scale_factor', 'homography_matrix', 'gt_bboxes_labels'):
            np.testing.assert_array_equal(made[key], expected[key])
        assert torch.equal(made['gt_bboxes'].tensor, expected['gt_bboxes'].tensor)
        np.testing.assert_array_equal(
            made['gt_masks'].to_ndarray(), expected['gt_masks'].to_ndarray()
        )
        different.append(np.abs(np.int64(made['img']) - expected['img']))
    different = np.concatenate([one.ravel() for one in different])
    # Pillow takes the place of a part in single precision: of the many sums that end on a half some
    # are rounded to the other side, in each of two passes.
    assert different.max() <= 2 and different.mean() < 0.1


def test_channels_of_rgb_are_those_of_the_classification_test(tmp_path):
    init_default_scope('mmpretrain')
    Image.fromarray(noise(90, 120, 3)).save(tmp_path / 'a.png')
    cfg = Config.fromfile(ROOT / 'mmconfigs/classify/vit-b_lomar_8xb128-amp-coslr-100e_in1k.py')
    load, edge = cfg.val_dataloader.dataset.pipeline[:2]
    sample = dict(img_path=str(tmp_path / 'a.png'))
    expected = Compose([load, dict(edge, scale=40)])(dict(sample))['img']
    mine = Compose([dict(type='LoadImage', convert=False, short_side=40)])(dict(sample))['img']
    np.testing.assert_array_equal(mine, expected)


@pytest.mark.parametrize('shape', [(30, 71), (71, 30), (40, 40), (3, 90)])
@pytest.mark.parametrize('size', [(24, 40), (40, 24), (64, 64), (40, 40)])
def test_fitted_pixels_are_those_of_pillow(shape, size):
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    expected = ImageOps.fit(Image.fromarray(pixels), size[::-1], Image.Resampling.BICUBIC)
    assert np.array_equal(fit_pixels(pixels, size), expected)
