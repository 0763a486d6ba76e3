"""Parts of images as images of their own, and images of any size, from the file to the loss."""

import random
import tracemalloc

import numpy as np
import pytest
import torch
from conftest import ROOT, randomised, tiny_lomar
from mmengine.dataset import Compose, default_collate, pseudo_collate
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from processes import run_lomar
from test_loading import photograph

from benchmarks.loading.regions import benchmark_raster, benchmark_regions
from lomar.datasets import UnreadableImage, random_resized_crop
from lomar.datasets.replay import Draw
from lomar.datasets.window_loading import LoadNative, LoadWindows, draw_places
from lomar.models.inputs import PretrainDataPreprocessor


def lomar(channels=3, **windows):
    """A tiny LoMaR that takes what is loaded."""
    model = tiny_lomar(dict(in_channels=channels), windows)
    model.data_preprocessor = PretrainDataPreprocessor([100.0] * channels, [60.0] * channels)
    return randomised(model)


def pipeline(**load):
    init_default_scope('mmpretrain')
    return Compose([load, dict(type='PackInputs', meta_keys=('flip', 'places'))])


def run(transforms, path, seed):
    random.seed(seed), np.random.seed(seed)
    sample = transforms(dict(img_path=str(path)))
    return sample['inputs'], sample['data_samples']


def write_tiff(path, array, **options):
    """A tiled TIFF of (H, W, C)."""
    rasterio = pytest.importorskip('rasterio')
    height, width, channels = array.shape
    shape = dict(height=height, width=width, count=channels, dtype=array.dtype)
    tiles = dict(tiled=True, blockxsize=256, blockysize=256)
    with rasterio.open(path, 'w', driver='GTiff', **shape, **tiles, **options) as file:
        file.write(array.transpose(2, 0, 1))


@pytest.mark.parametrize('decoder', ['simplejpeg', 'torchvision'])
@pytest.mark.parametrize(
    ('scale', 'size', 'file', 'options', 'bounds'),
    [
        (448, (500, 375), 'a.jpg', {}, (0, 0)),  # torch resizes it all, which takes less time
        # Pillow resizes the regions, torch the whole: see test_loading.py.
        (1024, (500, 375), 'a.jpg', {}, (2, 0.05)),
        (672, (1600, 1200), 'a.jpg', {}, (2, 0.05)),
        # Pillow resizes both; where a region begins is a number of 24 bits.
        (224, (2000, 1500), 'a.jpg', {}, (1, 0.0005)),  # decoded smaller
        ((320, 480), (500, 375), 'a.png', {}, (1, 0.0005)),
        (1024, (400, 300), 'a.jpg', dict(orientation=6), (1, 0.0005)),
    ],
)
def test_regions_are_those_of_the_resized_crop(
    tmp_path, monkeypatch, decoder, scale, size, file, options, bounds
):
    if decoder == 'torchvision':
        monkeypatch.setattr(random_resized_crop, 'simplejpeg', None)
    exif = Image.Exif()
    exif[0x0112] = options.get('orientation', 1)
    photograph(*size).save(tmp_path / file, exif=exif)
    shared = dict(scale=scale, crop_ratio_range=(0.2, 1.0))
    whole = pipeline(type='LoadRandomResizedCrop', **shared)
    part = pipeline(type='LoadWindows', size=112, number=4, patch_size=16, **shared)
    largest, means, flips = 0, [], set()
    for seed in range(8):
        expected, said = run(whole, tmp_path / file, seed)
        regions, meta = run(part, tmp_path / file, seed)
        assert regions.shape == (4, 3, 112, 112) and regions.dtype == torch.uint8
        assert meta.flip == said.flip
        flips.add(meta.flip)
        if meta.flip:
            expected, regions = expected.flip(-1), regions.flip(-1)
        assert not (meta.places % 16).any() and len(set(map(tuple, meta.places))) == 4
        for (top, left), region in zip(meta.places, regions, strict=True):
            gap = (expected[:, top : top + 112, left : left + 112].int() - region.int()).abs()
            assert gap.shape == region.shape
            largest = max(largest, gap.max().item())
            means.append(gap.float().mean().item())
    assert flips == {False, True}
    assert largest <= bounds[0] and np.mean(means) <= bounds[1]


def test_places_are_distinct_and_equally_likely():
    random.seed(0)
    draws = [draw_places(3, 4, 2) for _ in range(6000)]
    assert all(len(set(places)) == 2 for places in draws)
    counts = np.zeros((3, 4))
    for row, column in (place for places in draws for place in places):
        counts[row, column] += 1
    # Chi-square with 11 degrees of freedom exceeds 31.3 once in 1000 seeds; the seed is fixed.
    assert ((counts - 1000) ** 2 / 1000).sum() < 31.3
    assert sorted(draw_places(3, 4, 12)) == [(row, col) for row in range(3) for col in range(4)]


@pytest.mark.parametrize(
    ('name', 'dtype', 'channels'), [('a.npy', np.uint16, 5), ('a.tif', np.uint8, 3)]
)
def test_regions_at_their_own_resolution(tmp_path, name, dtype, channels):
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (300, 700, channels), dtype)
    path = tmp_path / name
    np.save(path, array) if name == 'a.npy' else write_tiff(path, array)
    load = pipeline(type='LoadWindows', channels=channels, size=48, number=6)
    flips = set()
    for seed in range(6):
        regions, meta = run(load, path, seed)
        flips.add(meta.flip)
        for (top, left), region in zip(meta.places, regions.numpy(), strict=True):
            expected = array[top : top + 48, left : left + 48]
            expected = expected[:, ::-1] if meta.flip else expected
            assert region.dtype == dtype
            assert np.array_equal(region.transpose(1, 2, 0), expected)
    assert flips == {False, True}
    batch = default_collate([dict(inputs=regions), dict(inputs=regions)])
    model = lomar(channels, size=6, number=1)
    images = model.data_preprocessor(batch)['inputs']
    assert torch.equal(images[7], (regions[1].float() - 100) / 60)
    assert model.loss(images)['loss'].isfinite()


@pytest.mark.parametrize('name', ['a.npy', 'a.tif'])
def test_a_large_raster_is_never_there_as_a_whole(tmp_path, name):
    path, side = tmp_path / name, 20000  # 1.2 GB
    if name == 'a.npy':
        np.lib.format.open_memmap(path, 'w+', np.uint8, (side, side, 3)).flush()  # holes
    else:
        rasterio = pytest.importorskip('rasterio')
        shape = dict(height=side, width=side, count=3, dtype='uint8')
        tiles = dict(tiled=True, blockxsize=256, blockysize=256, sparse_ok=True)
        with rasterio.open(path, 'w', driver='GTiff', **shape, **tiles):
            pass
    load = pipeline(type='LoadWindows', channels=3, size=112, number=4)
    run(load, path, 0)  # whatever is imported
    tracemalloc.start()
    regions, meta = run(load, path, 1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert meta.places.max() > 2000 and regions.shape == (4, 3, 112, 112)
    # Regions, their stack and its copy; a touched tile of 256 x 256 is five times a region.
    assert peak < 12 * regions.numel()


def test_files_that_do_not_fit_say_so(tmp_path):
    Image.new('RGB', (60, 40)).save(tmp_path / 'a.png')
    np.save(tmp_path / 'a.npy', np.zeros((40, 60, 3), np.uint8))
    for transform, name, message in [
        (LoadWindows(48, 1), 'a.npy', r'a\.npy: 40 x 60 pixels; .*size=48 .* at least 48 x 48'),
        (LoadWindows(40, 22), 'a.npy', r'number=22: .*as many places as windows'),
        (LoadNative(8, 6), 'a.png', r'a\.png: 40 x 60 pixels; .*min_grid: sides of at least 48'),
    ]:
        with pytest.raises(UnreadableImage, match=message):
            transform.transform(dict(img_path=str(tmp_path / name)))
    assert LoadWindows(40, 21).transform(dict(img_path=str(tmp_path / 'a.npy')))['img'].any() == 0
    with pytest.raises(ValueError, match=r'a\.npy has 3 channels, .* allowed: the 5 of the model'):
        LoadWindows(40, 1, channels=5).transform(dict(img_path=str(tmp_path / 'a.npy')))


@pytest.mark.parametrize(
    ('build', 'message'),
    [
        (lambda: LoadWindows(0, 4), r'LoadWindows\.size is 0; allowed: 1 or more'),
        (lambda: LoadWindows(112, 0, scale=448, patch_size=16), r'LoadWindows\.number is 0'),
        (
            lambda: LoadWindows(100, 4, scale=448, patch_size=16),
            r'size 100; allowed: multiples of patch_size=16',
        ),
        (
            lambda: LoadWindows(112, 2, scale=112, patch_size=16),
            r'number is 2, .* have 1 places in scale=112',
        ),
        (lambda: LoadWindows(112, 1, scale=96, patch_size=16), r'have 0 places in scale=96'),
        (lambda: LoadWindows(112, 1, scale=448), r'LoadWindows\.patch_size is 0; allowed: 1'),
        (
            lambda: LoadWindows(112, 1, crop_ratio_range=(0.2, 1)),
            r'crop_ratio_range is set without',
        ),
        (lambda: LoadNative(16, 8, 100), r'LoadNative\.max_side is 100; allowed: .* = 128'),
    ],
)
def test_wrong_settings_name_the_key(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_a_draw_is_replayed(photographs):
    load = dict(type='LoadWindows', scale=64, size=24, number=2, patch_size=8)
    init_default_scope('mmpretrain')
    settings = dict(data_root=str(photographs), pipeline=[load, dict(type='PackInputs')])
    dataset = DATASETS.build(dict(type='UnlabelledImages', **settings))
    first = dataset[Draw(3, seed=(0, 1, 2))]['inputs']
    random.seed(9), np.random.seed(9), torch.manual_seed(9), dataset[5]
    assert torch.equal(dataset[Draw(3, seed=(0, 1, 2))]['inputs'], first)
    assert not torch.equal(dataset[Draw(3, seed=(0, 2, 2))]['inputs'], first)


@pytest.mark.parametrize(
    ('stored', 'max_side', 'loaded'),
    [
        ((70, 45), None, (40, 64)),
        ((64, 40), None, (40, 64)),
        ((140, 90), 70, (40, 64)),
        ((140, 90), 64, (40, 64)),
        ((400, 50), 64, (24, 192)),  # a shorter side of min_grid patches, whatever max_side
    ],
)
def test_images_keep_their_size_and_aspect(tmp_path, stored, max_side, loaded):
    path = tmp_path / 'a.png'
    image = photograph(*stored)
    image.save(path)
    load = pipeline(type='LoadNative', patch_size=8, min_grid=3, max_side=max_side)
    for seed in range(4):
        pixels, meta = run(load, path, seed)
        assert pixels.shape == (3, *loaded)
        pixels = pixels.flip(-1) if meta.flip else pixels
        whole = np.asarray(image).transpose(2, 0, 1)
        if not max_side:  # the very pixels, from somewhere
            views = np.lib.stride_tricks.sliding_window_view(whole, loaded, (1, 2))
            assert (views == pixels.numpy()[:, None, None]).all((0, 3, 4)).sum() == 1


def window_loss(model, images, windows, masked):
    return model.window_loss(images, model.predict(images, windows, masked), windows, masked)


def test_windows_in_regions_are_windows_in_the_whole_image(tmp_path):
    photograph(2048, 512).save(tmp_path / 'a.png')
    load = pipeline(type='LoadNative', patch_size=8, min_grid=4)
    wide = run(load, tmp_path / 'a.png', 0)[0]
    model = lomar(number=5)
    image = model.data_preprocessor(dict(inputs=[wide]))['inputs']
    assert image.shape == (1, 3, 512, 2048)
    windows, masked = model.sample(image, torch.Generator().manual_seed(0))
    assert windows[..., 1].max() > 64  # further than the image is high
    places = (windows[0] * 8).tolist()
    cut = torch.stack([wide[:, top : top + 24, left : left + 24] for top, left in places])
    regions = model.data_preprocessor(default_collate([dict(inputs=cut)]))['inputs']
    assert regions.shape == (5, 3, 24, 24)
    # One window of each of five images for five windows of one.
    alone = window_loss(model, regions, torch.zeros(5, 1, 2, dtype=torch.int64), masked[0][:, None])
    torch.testing.assert_close(alone, window_loss(model, image, windows, masked), atol=0, rtol=1e-6)


def test_a_batch_of_several_sizes_is_the_mean_of_its_images(tmp_path):
    load = pipeline(type='LoadNative', patch_size=8, min_grid=4)
    samples = []
    for index, size in enumerate([(100, 60), (64, 64), (40, 130), (64, 64), (100, 61)]):
        photograph(*size, seed=index).save(tmp_path / 'a.png')
        samples.append(dict(inputs=run(load, tmp_path / 'a.png', index)[0]))
    model = lomar()
    images = model.data_preprocessor(pseudo_collate(samples))['inputs']
    assert [tuple(image.shape[1:]) for image in images] == [
        (56, 96),
        (64, 64),
        (128, 40),
        (64, 64),
        (56, 96),
    ]
    windows, masked = model.sample(images, torch.Generator().manual_seed(0))
    together = window_loss(model, images, windows, masked)
    alone = [
        window_loss(model, image[None], windows[i, None], masked[i, None])
        for i, image in enumerate(images)
    ]
    torch.testing.assert_close(together, torch.stack(alone).mean(), atol=0, rtol=1e-6)
    assert torch.stack(alone).std() > 1e-3  # a mix-up would show
    assert model.loss(images)['loss'].isfinite()


CONFIG = """
_base_ = '{root}/mmconfigs/pretrain/lomar_vit-base-p16_8xb512-amp-coslr-400e_{name}.py'
model = dict(backbone=dict(arch=dict(_delete_=True, embed_dim=24, depth=2, num_heads=2)))
train_dataloader = dict(batch_size=4, num_workers=1)
train_cfg = dict(max_epochs=2)
default_hooks = dict(logger=dict(interval=1))
"""


def make_files(folder, name):
    """Eight files that a config may meet, one of them too small."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(8):
        width, height = (int(side) for side in rng.integers(128, 400, 2))
        if number == 5:
            width = 90
        image = photograph(width, height, number)
        if name == 'rasters':
            write_tiff(folder / f'{number}.tif', np.asarray(image))
        else:
            image.save(folder / f'{number}.jpg')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['in1k-448px-regions', 'in1k-native', 'rasters'])
def test_training(tmp_path, name):
    make_files(tmp_path / 'images', name)
    config = tmp_path / 'toy.py'
    config.write_text(CONFIG.format(root=ROOT, name=name))
    options = ['--train-images', str(tmp_path / 'images'), '--work-dir', str(tmp_path / 'work')]
    hook = 'custom_hooks.3.max_share=0.2'
    done = run_lomar('train', config, *options, '--cfg-options', hook)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert text.count('Epoch(train)') == 4 and 'images_per_second: ' in text
    assert 'loss: nan' not in text and (tmp_path / 'work/epoch_2.pth').exists()
    # A crop can be made of anything; what keeps its resolution needs room for its windows.
    assert ('5.jpg' in text or '5.tif' in text) == (name != 'in1k-448px-regions')
    picture = Image.open(tmp_path / 'work/reconstructions/iter_0000004.png').convert('RGB')
    assert max(high - low for low, high in picture.getextrema()) > 99
    if name != 'in1k-native':
        assert picture.height == 22 + 8 * (112 + 6)  # two files with four regions each


def test_the_benchmark_counts_what_reaches_the_model():
    row = benchmark_regions([224, 448], 160, 120, images=2, repeats=2)['scales'][448]
    assert (row['whole']['bytes'], row['regions']['bytes']) == (3 * 448**2, 4 * 3 * 112**2)
    assert row['regions']['images_per_second'] > 0 and row['times_whole'] > 0


def test_the_benchmark_of_a_raster_counts_what_is_read():
    pytest.importorskip('rasterio')
    raster = benchmark_raster(700, repeats=1)
    assert raster['regions']['milliseconds'] > 0 and raster['bytes'] < 3 * 700**2
