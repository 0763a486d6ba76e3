"""Images of 1 to 16 channels: pipelines, statistics, models, transfer, features."""

import json
import random
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ROOT, TINY_ARCH, randomised
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.optim import OptimWrapper
from mmengine.registry import DATASETS, MODELS, init_default_scope
from processes import run_lomar
from test_loading import photograph
from test_pixels import scene, write_tiff
from timm.models import adapt_input_conv
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

import lomar
from lomar.checkpoints import TransferError, transfer_backbone
from lomar.datasets import use_channels
from lomar.datasets.channel_statistics import channel_statistics
from lomar.datasets.resize import resize_pixels
from lomar.models import RPEViT
from lomar.visualization import ReconstructionHook, reconstruct

BLOCKS = re.findall(r'```python\n(.*?)```', (ROOT / 'docs/channels.md').read_text(), re.DOTALL)


def crop_of(path, seed, **given):
    init_default_scope('mmpretrain')
    np.random.seed(seed)
    steps = [dict(type='LoadRandomResizedCrop', scale=64, **given), dict(type='PackInputs')]
    sample = Compose(steps)(dict(img_path=str(path)))
    return sample['inputs'], sample['data_samples'].to_dict()


def test_crops_are_those_of_rgb(tmp_path):
    image = photograph(200, 150)
    image.save(tmp_path / 'a.png')
    image.save(tmp_path / 'a.jpg', quality=95)
    for seed in range(10):
        for name in ('a.png', 'a.jpg'):
            mine, meta = crop_of(tmp_path / name, seed, convert=False)
            theirs, expected = crop_of(tmp_path / name, seed)
            assert meta == expected and mine.dtype == torch.uint8
            # A JPEG file is resized by torch there: a step of rounding in each of two passes.
            bound = 2 if name == 'a.jpg' else 0
            assert (mine.int() - theirs.int()).abs().max() <= bound


@pytest.mark.parametrize('dtype', ['uint16', 'float32'])
def test_resizing_keeps_numbers_and_their_range(dtype):
    pixels = np.random.default_rng(0).integers(0, 65536, (60, 50, 5)).astype(dtype)
    exact = torch.from_numpy(pixels.astype(np.float64)).permute(2, 0, 1)[None]
    for size in ((97, 120), (23, 70), (60, 50)):
        resized = resize_pixels(pixels, size)
        assert resized.shape == (*size, 5) and resized.dtype == dtype
        expected = interpolate(exact, size, mode='bicubic', antialias=True)[0].permute(1, 2, 0)
        if size == (97, 120):
            assert expected.min() < -1000 and expected.max() > 66535
        if dtype == 'uint16':
            expected = expected.clip(0, 65535)
        # torch places the filter in single precision: 1e-5 of the range. Then half a step.
        bound = 65535 * 1e-5 + (0.5 if dtype == 'uint16' else 0)
        assert np.abs(resized - expected.numpy()).max() < bound


def test_damage_is_replaced_and_a_wrong_config_stops(tmp_path):
    np.save(tmp_path / 'a.npy', scene(4))
    np.save(tmp_path / 'b.npy', scene(4))
    (tmp_path / 'a.npy').write_bytes((tmp_path / 'a.npy').read_bytes()[:-50])
    init_default_scope('mmpretrain')
    for channels in (4, 13):
        load = dict(type='LoadImage', channels=channels, short_side=40)
        dataset = DATASETS.build(
            dict(
                type='UnlabelledImages',
                data_root=str(tmp_path),
                pipeline=[load, dict(type='PackInputs')],
            )
        )
        if channels == 13:
            with pytest.raises(ValueError, match=r'b\.npy has 4 channels.* allowed: the 13 of'):
                dataset[1]
            continue
        sample = dataset[0]
        assert sample['inputs'].shape == (4, 40, 48) and sample['inputs'].dtype == torch.uint16
        assert list(sample['data_samples'].unreadable) == [str(tmp_path / 'a.npy')]


def test_statistics(tmp_path):
    rng = np.random.default_rng(0)
    files = [rng.normal(30000, 500, (side, 600, 3)).astype(np.uint16) for side in (520, 40, 7)]
    for number, pixels in enumerate(files):
        pixels[..., 2] = 5
        np.save(tmp_path / f'{number}.npy', pixels)
    write_tiff(tmp_path / 'broken.tif', files[0])
    (tmp_path / 'broken.tif').write_bytes((tmp_path / 'broken.tif').read_bytes()[:-500])
    found = channel_statistics(tmp_path)
    whole = np.concatenate([pixels.reshape(-1, 3) for pixels in files]).astype(np.float64)
    np.testing.assert_allclose(found.mean, whole.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, whole.std(axis=0), rtol=1e-10)
    np.testing.assert_array_equal([found.low, found.high], [whole.min(axis=0), whole.max(axis=0)])
    assert found.constant == [2] and found.count == len(whole)
    assert list(found.unreadable) == [str(tmp_path / 'broken.tif')]
    drawn = channel_statistics(tmp_path, samples=2)
    assert drawn.dtypes.total() + len(drawn.unreadable) == 2
    done = run_lomar('statistics', tmp_path, '--json', tmp_path / 'a.json')
    assert done.returncode == 1 and 'channels [2] (from 0) have one value' in done.stderr
    assert 'unreadable, left out' in done.stdout and 'in_channels=3\n\nconvert=False' in done.stdout
    printed = eval(re.search(r'data_preprocessor=(dict\(.*\))', done.stdout)[1])
    np.testing.assert_allclose(printed['mean'], found.mean, rtol=1e-5)
    assert json.loads((tmp_path / 'a.json').read_text())['std'] == found.std.tolist()
    np.save(tmp_path / '9.npy', scene(4))
    with pytest.raises(ValueError, match=r'9\.npy has 4 channels, .*0\.npy has 3'):
        channel_statistics(tmp_path)


def documented(number, base, channels, tmp_path):
    """A config of docs/channels.md on a base of toy size."""
    text = re.sub(
        r"_base_ = '.*?'", f"_base_ = '{ROOT}/mmconfigs/shapes/{base}.py'", BLOCKS[number]
    )
    for old, new in {r'\b13\b': str(channels), '224': '64', '256': '72'}.items():
        text = re.sub(old, new, text)
    assert text.count('channels=') == 1  # the number of channels has one place
    (tmp_path / 'documented.py').write_text(text)
    cfg = Config.fromfile(tmp_path / 'documented.py')
    use_channels(cfg)
    init_default_scope(cfg.default_scope)
    return cfg


@pytest.mark.parametrize(('channels', 'kind'), [(1, '.npy'), (4, '.tif'), (13, '.npy')])
def test_lomar_learns_from_files(tmp_path, channels, kind):
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(8):
        pixels = scene(channels, seed=number)
        if kind == '.npy':
            np.save(folder / f'{number}.npy', pixels)
        else:
            write_tiff(folder / f'{number}.tif', pixels)
    cfg = documented(0, 'lomar_vit-tiny-p4_1xb32-coslr-8e_shapes', channels, tmp_path)
    cfg.model.backbone.update(arch=TINY_ARCH, patch_size=8)
    cfg.model.windows.update(size=4, number=4)
    cfg.model.head.norm_pix = False
    cfg.train_dataloader.dataset.data_root = str(folder)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    torch.manual_seed(0)
    np.random.seed(0)
    loader = DataLoader(dataset, 8, num_workers=1, collate_fn=default_collate)
    model = MODELS.build(cfg.model)
    model.init_weights()
    wrapper = OptimWrapper(torch.optim.AdamW(model.parameters(), 3e-3))
    batches = [next(iter(loader))]  # from another process
    assert batches[0]['inputs'].dtype == torch.uint16
    batches += [default_collate([dataset[i] for i in range(8)]) for _ in range(29)]
    losses = [model.train_step(batch, wrapper)['loss'].item() for batch in batches]
    # The best of constant predictions would lose the variance of the pixels, 1; found: 0.4.
    variance = model.data_preprocessor(batches[0])['inputs'].var().item()
    assert losses[0] > variance and np.mean(losses[-10:]) < 0.6 * variance
    hook = ReconstructionHook()
    runner = SimpleNamespace(model=model, train_dataloader=SimpleNamespace(dataset=dataset))
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    hook.before_train(runner)
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert after == before  # a picture changes nothing of what is drawn in training
    assert {(image.shape, image.dtype) for image in hook.batch} == {
        ((channels, 64, 64), torch.uint16)
    }
    assert len(hook.batch) == 8
    assert reconstruct(model, hook.batch)[0].pictures['composite'].shape == (3, 64, 64)


def test_classifier_of_13_channels(tmp_path):
    cfg = documented(1, 'vit-tiny_lomar_1xb32-coslr-16e_shapes', 13, tmp_path)
    for split in ('train', 'val'):
        for name in ('field', 'wood'):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            write_tiff(folder / '1.tif', scene(13, 'float32', seed=len(name)))
        cfg[f'{split}_dataloader'].dataset.data_root = str(tmp_path / split)
    cfg.model.backbone.update(arch=TINY_ARCH, patch_size=8)
    cfg.model.head.update(num_classes=2, in_channels=48)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.01))
    samples = DATASETS.build(cfg.train_dataloader.dataset)
    before = model.backbone.patch_embed.proj.weight.clone()
    loss = model.train_step(default_collate([samples[0], samples[1]]), wrapper)['loss']
    assert loss.item() == pytest.approx(np.log(2), abs=0.2)
    assert not model.backbone.patch_embed.proj.weight.equal(before)
    samples = DATASETS.build(cfg.val_dataloader.dataset)
    found = model.eval().test_step(default_collate([samples[0], samples[1]]))
    assert [sample.gt_label.item() for sample in found] == [0, 1]
    assert found[0].pred_score.sum().item() == pytest.approx(1)


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_mask_rcnn_of_4_channels(tmp_path, dtype):
    cfg = documented(2, 'mask-rcnn_vitdet-tiny-lomar_shapes', 4, tmp_path)
    for number in range(2):
        np.save(tmp_path / f'{number}.npy', scene(4, dtype, 70, 60, seed=number))
    corners = [10, 12, 40, 12, 40, 50, 10, 50]
    box = dict(bbox=[10, 12, 30, 38], area=1140, iscrowd=0, segmentation=[corners])
    images = [dict(id=i, file_name=f'{i}.npy', width=60, height=70) for i in range(2)]
    boxes = [dict(box, id=i + 1, image_id=i, category_id=1) for i in range(2)]
    coco = dict(images=images, annotations=boxes, categories=[dict(id=1, name='field')])
    (tmp_path / 'a.json').write_text(json.dumps(coco))
    samples = {}
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.update(ann_file=str(tmp_path / 'a.json'), data_prefix=dict(img=str(tmp_path)))
        built = DATASETS.build(dataset)
        samples[split] = pseudo_collate([built[0], built[1]])
        assert {image.dtype for image in samples[split]['inputs']} == {getattr(torch, dtype)}
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), 0.001))
    losses = model.train_step(samples['train'], wrapper)
    assert all(torch.isfinite(value).all() for value in losses.values()) and losses['loss'] > 1
    model.eval().roi_head.test_cfg.score_thr = 0.0
    for sample in model.test_step(samples['val']):
        assert len(sample.pred_instances) and sample.pred_instances.masks.shape[1:] == (70, 60)


def test_detection_preprocessor_refuses():
    def build(**given):
        settings = dict(type='ChannelsDetDataPreprocessor', mean=[0.0] * 4, std=[1.0] * 4)
        return MODELS.build(settings | given)

    with pytest.raises(ValueError, match=r'data_preprocessor\.mean is .*, std above 0'):
        build(std=[1.0, 1.0, 0.0, 1.0])
    with pytest.raises(ValueError, match=r'1 channels, data_preprocessor\.mean has 4'):
        build()(dict(inputs=[torch.zeros(1, 8, 8)], data_samples=None))


def tiny_vit(channels, patch_size=8):
    return randomised(RPEViT(TINY_ARCH, 64, patch_size, in_channels=channels, out_type='featmap'))


@pytest.mark.parametrize('channels', [1, 2, 4, 6, 13])
def test_rgb_weights_by_timms_rule(channels):
    source, target = tiny_vit(3), tiny_vit(channels)
    report = transfer_backbone(source.state_dict(), target)
    assert report.resized == [
        f'patch_embed.proj.weight (48, 3, 8, 8) -> (48, {channels}, 8, 8) '
        f"(channels 3 -> {channels} by timm's rule)"
    ]
    expected = adapt_input_conv(channels, source.patch_embed.proj.weight)
    torch.testing.assert_close(target.patch_embed.proj.weight, expected, rtol=0, atol=0)
    grey = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    if channels in (1, 6):  # of a grey image, in as many channels, the same features
        ours, theirs = (
            vit.eval()(grey.expand(-1, c, -1, -1)) for vit, c in ((target, channels), (source, 3))
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_other_channels_are_refused():
    for given, wanted in ((4, 13), (1, 3)):
        with pytest.raises(
            TransferError, match=r'(?s)8, 8\).*Only 3 channels are adapted to other numbers'
        ):
            transfer_backbone(tiny_vit(given).state_dict(), tiny_vit(wanted))


def test_encoder_of_any_numbers(tmp_path):
    torch.save(tiny_vit(4).state_dict(), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='take 4 channels, and mean and std have 0 and 0 numbers'):
        lomar.Encoder(tmp_path / 'a.pth', 'cpu')
    mean, std = [2000.0] * 4, [1000.0] * 4
    encoder = lomar.Encoder(tmp_path / 'a.pth', 'cpu', mean=mean, std=std)
    pixels = scene(4, height=64)
    np.save(tmp_path / 'a.npy', pixels)
    write_tiff(tmp_path / 'a.tif', pixels)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    same = [pixels, pixels.astype(float), tensor, tmp_path / 'a.npy', tmp_path / 'a.tif']
    features = encoder(same)
    (expected,) = encoder.backbone((tensor[None].float() - 2000) / 1000)
    torch.testing.assert_close(features.patches, expected.expand(5, -1, -1, -1))
    small = encoder([pixels[:32]], size=(64, 192))
    assert small.patches.shape == (1, 48, 8, 24)
    with pytest.raises(ValueError, match='an array is complex64; allowed: integers and floats'):
        encoder([pixels.astype(np.complex64)])
