"""Whole images in pipelines: colors, arrays from OpenMMLab's inference, former names, channels."""

import random
import re

import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT
from mmdet.apis import DetInferencer, inference_detector
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from mmpretrain.apis import ImageClassificationInferencer
from PIL import Image
from test_loading import photograph
from test_pixels import scene

import lomar.detection  # noqa: F401  (registers)
from lomar.checkpoints import load_file, stored_config
from lomar.datasets import (
    LoadImage,
    UnreadableImage,
    read_pixels,
    read_rgb,
    renamed_loaders,
    use_channels,
)
from lomar.datasets.renamed_loaders import RENAMED

DETECTOR = 'shapes/mask-rcnn_vitdet-tiny-lomar_shapes'
CLASSIFIER = 'shapes/vit-tiny_lomar_1xb32-coslr-16e_shapes'
OLD = FIXTURES / 'v0.1/detector_lomar.pth'


def config(name):
    if name == OLD:
        cfg = Config(stored_config(load_file(OLD)))
    else:
        cfg = Config.fromfile(ROOT / f'mmconfigs/{name}.py')
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'a.png'
    photograph(64, 64).save(path)  # the size at which the detectors work
    return str(path), np.array(Image.open(path))[..., ::-1]  # B, G, R


class Detector(torch.nn.Module):
    """What mmdet's `inference_detector` needs of a model; it returns the input of the backbone."""

    def __init__(self, cfg):
        super().__init__()
        self.cfg, self.data_preprocessor = cfg, MODELS.build(cfg.model.data_preprocessor)

    def test_step(self, data):
        return [self.data_preprocessor(data)['inputs'][0]]


def by_inferencer(cfg, model, given):
    """What mmdet's `DetInferencer` gives to the backbone."""
    inferencer = object.__new__(DetInferencer)
    sample = inferencer._init_pipeline(Config(cfg.to_dict()))(given)
    return model.test_step(pseudo_collate([sample]))[0]


@pytest.mark.parametrize('name', [DETECTOR, OLD])
def test_mmdets_inference_of_files_and_arrays(image, name):
    path, bgr = image
    cfg = config(name)
    model = Detector(cfg)
    expected = inference_detector(model, path)
    mean, std = (torch.tensor(cfg.model.data_preprocessor[key]) for key in ('mean', 'std'))
    pixels = (torch.from_numpy(bgr[..., ::-1].copy()).float() - mean) / std
    assert expected[:, :64, :64].equal(pixels.permute(2, 0, 1))
    for given in (path, bgr, dict(img=bgr), dict(img_path=path)):
        assert by_inferencer(cfg, model, given).equal(expected)
    assert inference_detector(model, bgr).equal(expected)


def test_pipelines_of_mmdet_stay_as_they_are(image):
    path, bgr = image
    cfg = config(DETECTOR)
    cfg.test_dataloader.dataset.pipeline[0] = dict(type='LoadImageFromFile')
    model = Detector(cfg)
    assert by_inferencer(cfg, model, bgr).equal(by_inferencer(cfg, model, path))
    del cfg.test_dataloader.dataset.pipeline[0]
    with pytest.raises(ValueError, match='LoadImageFromFile is not found'):
        by_inferencer(cfg, model, path)


def test_mmpretrains_inference_of_files_and_arrays(image):
    path, bgr = image
    cfg = config(CLASSIFIER)
    expected = Compose(cfg.test_dataloader.dataset.pipeline)(dict(img_path=path))['inputs']
    assert expected.numpy().transpose(1, 2, 0).tolist() == bgr[..., ::-1].tolist()
    inferencer = object.__new__(ImageClassificationInferencer)
    inferencer.pipeline = inferencer._init_pipeline(cfg)
    inferencer.collate_fn = pseudo_collate
    for batch in inferencer.preprocess([path, bgr]):
        assert torch.equal(batch['inputs'][0], expected)


def test_arrays_of_other_channels_keep_their_order(tmp_path):
    pixels = scene(5)
    np.save(tmp_path / 'a.npy', pixels)
    load = LoadImage(channels=5, color_type='color')
    for given in (str(tmp_path / 'a.npy'), pixels):
        np.testing.assert_array_equal(load.transform(given)['img'], pixels)
    with pytest.raises(ValueError, match=r'an array has 3 channels, .* allowed: the 5 of'):
        load.transform(pixels[..., :3])
    grey = LoadImage(channels=1).transform(pixels[..., 0])
    np.testing.assert_array_equal(grey['img'], pixels[..., :1])


def test_two_swaps_of_three_channels_are_exact():
    pixels = torch.from_numpy(scene(3, 'float32')).permute(2, 0, 1)
    norm = dict(type='ChannelsDetDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[3.0, 2.0, 1.0])
    swap = MODELS.build(norm | dict(bgr_to_rgb=True))(dict(inputs=[pixels.flip(0)]))
    assert swap['inputs'].equal(MODELS.build(norm)(dict(inputs=[pixels]))['inputs'])
    norm |= dict(mean=[1.0] * 4, std=[2.0] * 4)
    four = torch.cat([pixels, pixels[:1]])
    swap = MODELS.build(norm | dict(bgr_to_rgb=True))(dict(inputs=[four]))
    assert swap['inputs'].equal(MODELS.build(norm)(dict(inputs=[four]))['inputs'])


def test_wrong_settings():
    with pytest.raises(ValueError, match=r"color_type is 'bgr'; allowed: rgb, color"):
        LoadImage(color_type='bgr')
    with pytest.raises(ValueError, match='convert is True and channels 4; allowed: 3'):
        LoadImage(channels=4, convert=True)


def test_former_names_load_what_they_did(tmp_path, monkeypatch):
    """`LoadRGB` converts every file, `...Channels` and `LoadRegions` keep the file's numbers."""
    init_default_scope('mmpretrain')
    photograph(300, 200).convert('CMYK').save(tmp_path / 'a.jpg')
    np.save(tmp_path / 'a.npy', scene(3, height=200, width=300))
    paths = [str(tmp_path / name) for name in ('a.jpg', 'a.npy')]
    renamed_loaders._log.cache_clear()
    lines = []
    monkeypatch.setattr(renamed_loaders, 'print_log', lambda line, **_: lines.append(line))
    size = dict(size=32, number=2)

    def load(path, **step):
        random.seed(0), np.random.seed(0)
        return TRANSFORMS.build(step)(dict(img_path=path))

    for path in paths:
        stored = read_pixels(path)
        whole = load(path, type='LoadChannels', channels=3)
        np.testing.assert_array_equal(whole['img'], stored)
        crop = load(path, type='LoadRandomResizedCropChannels', channels=3, scale=64)
        new = load(path, type='LoadRandomResizedCrop', convert=False, scale=64)
        np.testing.assert_array_equal(crop['img'], new['img'])
        regions = load(path, type='LoadRegions', channels=3, flip_prob=0, **size)
        for (top, left), region in zip(regions['places'], regions['img'], strict=True):
            expected = stored[top : top + 32, left : left + 32].transpose(2, 0, 1)
            np.testing.assert_array_equal(region, expected)
    rgb = np.array(read_rgb(paths[0]))
    np.testing.assert_array_equal(load(paths[0], type='LoadRGB')['img'], rgb)
    crop = dict(scale=64, patch_size=8, **size)
    regions, new = (
        load(paths[0], type=f'Load{kind}', **crop) for kind in ('CropRegions', 'Windows')
    )
    assert regions['places'].tolist() == new['places'].tolist()
    np.testing.assert_array_equal(regions['img'], new['img'])
    for kind in ('RGB', 'CropRegions'):
        with pytest.raises(UnreadableImage, match=r'a\.npy'):
            load(paths[1], type=f'Load{kind}', **(crop if kind == 'CropRegions' else {}))
    assert len(lines) == len(RENAMED)
    assert {re.match(r'\w+ is deprecated', line)[0].split()[0] for line in lines} == set(RENAMED)
    assert "use dict(type='LoadImage', convert=False, ...)" in lines[0]


def test_windows_of_a_crop_of_many_channels(tmp_path):
    init_default_scope('mmpretrain')
    np.save(tmp_path / 'a.npy', scene(5, height=200, width=300))
    settings = dict(scale=64, channels=5, flip_prob=0)
    samples = []
    for step in (
        dict(type='LoadRandomResizedCrop', **settings),
        dict(type='LoadWindows', size=24, number=3, patch_size=8, **settings),
    ):
        np.random.seed(0)
        samples.append(TRANSFORMS.build(step)(dict(img_path=str(tmp_path / 'a.npy'))))
    whole, parts = samples
    assert parts['img'].shape == (3, 5, 24, 24) and parts['img'].dtype == np.uint16
    for (top, left), window in zip(parts['places'], parts['img'], strict=True):
        expected = whole['img'][top : top + 24, left : left + 24].transpose(2, 0, 1)
        # Pillow rounds coordinates of a part to 24 bits; values are up to 4000.
        assert np.abs(window.astype(int) - expected).max() <= 1


def test_one_number_of_channels():
    cfg = config(DETECTOR)
    before = cfg.pretty_text
    use_channels(cfg)
    assert cfg.pretty_text == before  # mmdet's array loaders do not accept `channels`
    cfg.model.backbone.in_channels = 5
    use_channels(cfg)
    for split in ('train', 'val', 'test'):
        assert cfg[f'{split}_dataloader'].dataset.pipeline[0].channels == 5
    nested = dict(type='RepeatDataset', dataset=cfg.train_dataloader.dataset)
    cfg = Config(dict(model=dict(backbone={}), train_dataloader=dict(dataset=nested)))
    with pytest.raises(
        ValueError, match=r'train_dataloader: LoadImage\.channels is 5; allowed: .*in_channels, 3'
    ):
        use_channels(cfg)
    cfg = config('pretrain/lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k-native')
    cfg.model.backbone.in_channels = 5
    with pytest.raises(ValueError, match=r'LoadNative loads 8-bit RGB, and .*in_channels is 5'):
        use_channels(cfg)


@pytest.mark.parametrize('name', [DETECTOR, CLASSIFIER, OLD])
def test_loaders_and_preprocessor_agree_on_the_color_order(name):
    cfg = config(name)
    use_channels(cfg)
    swap = {DETECTOR: False, OLD: True, CLASSIFIER: True}[name]
    cfg.model.data_preprocessor['to_rgb' if name == CLASSIFIER else 'bgr_to_rgb'] = swap
    with pytest.raises(ValueError, match=rf"color_type is '\w+'; .* bgr_to_rgb={swap}"):
        use_channels(cfg)
    cfg.data_preprocessor = cfg.model.pop('data_preprocessor')  # where mmpretrain's configs have it
    with pytest.raises(ValueError, match=rf"color_type is '\w+'; .* bgr_to_rgb={swap}"):
        use_channels(cfg)
    cfg.model.backbone.in_channels = 5  # no color order
    use_channels(cfg)


def test_the_command_sets_the_channels(tmp_path, photographs):
    from lomar.cli import parse_args
    from lomar.engine import train_config

    line = [str(ROOT / 'mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py')]
    line += ['--train-images', str(photographs), '--cfg-options', 'model.backbone.in_channels=5']
    cfg = train_config(parse_args(['train', *line]))
    assert cfg.train_dataloader.dataset.pipeline[0].channels == 5
