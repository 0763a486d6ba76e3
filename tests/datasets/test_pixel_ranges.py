"""Images of every pixel type: one table of files, for models of RGB and of one channel."""

import json
import re
import shutil
import sys
import warnings

import cv2
import numpy as np
import pytest
import torch
from conftest import TINY_ARCH, randomised
from mmengine.config import Config
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from PIL import Image

import lomar
from lomar.cli import main
from lomar.datasets import (
    LoadImage,
    UnreadableImage,
    read_pixels,
    read_rgb,
    use_channels,
    use_value_range,
)
from lomar.datasets.channel_statistics import channel_statistics
from lomar.datasets.color import dark_note, largest_of_16_bits
from lomar.datasets.reading import Reading, training_reading
from lomar.datasets.resize_folder import resize_images
from lomar.export import exportable
from lomar.models import RPEViT
from lomar.visualization import read_image

RAMP = np.arange(256).reshape(16, 16)
UNKNOWN = r'whose range is unknown; declare .* value_range=\[LOW, HIGH\].*convert=False'


def tiff(array, **options):
    def save(path):
        import rasterio

        bands = array if array.ndim == 3 else array[None]
        count, height, width = bands.shape
        kind = dict(driver='GTiff', count=count, height=height, width=width, dtype=bands.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path, 'w', **kind, **options) as file:
                file.write(bands)

    return save


def pillow(array, mode=None, **options):
    return lambda path: Image.fromarray(array).convert(mode).save(path, **options)


def array(values):
    return lambda path: np.save(path, values)


def quantized(path):
    Image.fromarray(COLOURED).quantize(16).save(path)


def png16(factor, channels):
    pixels = np.stack([RAMP * factor] * channels, -1).astype(np.uint16)
    return lambda path: cv2.imwrite(str(path), pixels)


GREY = RAMP.astype(np.uint8)
COLOURED = np.stack([GREY, GREY.T, GREY[::-1]], -1)
ANY = object()
BITS = np.asarray(Image.fromarray(GREY).convert('1')) * 255
NEEDS = 'need `channels` or .*value_range'
THREE = np.stack([RAMP * 16] * 3)
# Suffix, writer, result as 8-bit RGB (None: all of RAMP, ANY: not checked), range to declare, dtype
# and largest number in one channel. A text is a part of the error.
FILES = {
    'uint8 TIFF': ('tif', tiff(GREY), None, None, ('uint8', 255)),
    'uint16 TIFF': ('tif', tiff((RAMP * 257).astype('uint16')), None, None, ('uint16', 65535)),
    '12 bits in 16': (
        'tif',
        tiff((RAMP * 16).astype('uint16')),
        RAMP * 16 // 257,
        (0, 4080),
        ('uint16', 4080),
    ),
    'TIFF of 12 bits': (
        'tif',
        tiff((RAMP * 16).astype('uint16'), NBITS=12),
        RAMP * 16 * 255 // 4095,
        (0, 4080),
        ('uint16', 4080),
    ),
    'int8 TIFF': ('tif', tiff((RAMP - 128).astype('int8')), UNKNOWN, (-128, 127), ('float32', 127)),
    'Hounsfield units': (
        'tif',
        tiff((RAMP * 10 - 1000).astype('int16')),
        'int16, ' + UNKNOWN,
        (-1000, 1550),
        ('float32', 1550),
    ),
    'int32 TIFF': ('tif', tiff(RAMP.astype('int32')), UNKNOWN, (0, 255), ('float32', 255)),
    'uint32 TIFF': (
        'tif',
        tiff((RAMP * 16777216).astype('uint32')),
        UNKNOWN,
        (0, 255 * 16777216),
        ('float32', 255 * 16777216),
    ),
    'float TIFF': ('tif', tiff((RAMP / 255).astype('float32')), UNKNOWN, (0, 1), ('float32', 1)),
    'float64 TIFF': (
        'tif',
        tiff(RAMP / 255),
        NEEDS,
        (0, 1),
        ('float32', 1),
    ),
    'float RGB TIFF': (
        'tif',
        tiff(THREE.astype('float32'), photometric='RGB'),
        NEEDS,
        (0, 4080),
        'has 3 channels',
    ),
    '12 bits in 3 x 16, TIFF': (
        'tif',
        tiff(THREE.astype('uint16'), photometric='RGB'),
        RAMP * 16 // 256,
        (0, 4080),
        'has 3 channels',
    ),
    'uint16 PNG': ('png', png16(257, 1), None, None, ('uint16', 65535)),
    '12 bits in 16, PNG': ('png', png16(16, 1), RAMP * 16 // 257, (0, 4080), ('uint16', 4080)),
    '12 bits in 3 x 16, PNG': ('png', png16(16, 3), RAMP * 16 // 256, (0, 4080), 'has 3 channels'),
    'float array': (
        'npy',
        array(RAMP / 255),
        NEEDS,
        (0, 1),
        ('float32', 1),
    ),
    'uint8 array': ('npy', array(GREY), NEEDS, (0, 9), ('uint8', 255)),
    'truth values': ('npy', array(RAMP > 9), NEEDS, None, 'are bool'),
    'L PNG': ('png', pillow(GREY), None, None, ('uint8', 255)),
    'L JPEG': ('jpg', pillow(GREY, quality=100), None, None, ('uint8', 255)),
    'L WebP': ('webp', pillow(GREY, lossless=True), None, None, 'has 3 channels'),
    '1 PNG': (
        'png',
        pillow(GREY, '1'),
        BITS,
        None,
        ('uint8', 255),
    ),
    'LA PNG': ('png', pillow(GREY, 'LA'), None, None, ('uint8', 255)),
    'grey palette': ('png', pillow(GREY, 'P'), None, None, ('uint8', 255)),
    'palette': (
        'png',
        quantized,
        ANY,
        None,
        'has 3 channels',
    ),
    'RGB PNG': ('png', pillow(COLOURED), ANY, None, 'has 3 channels'),
    'CMYK JPEG': ('jpg', pillow(COLOURED, 'CMYK'), ANY, None, 'has 3 channels'),
}


@pytest.fixture(params=FILES)
def file(request, tmp_path):
    suffix, save, *expected = FILES[request.param]
    path = tmp_path / f'a.{suffix}'
    save(path)
    return path, *expected


def test_rgb(file):
    path, expected, declared, _ = file
    if expected is ANY:
        assert np.asarray(read_rgb(path)).shape == (16, 16, 3)
        return
    if isinstance(expected, str):
        with pytest.raises(UnreadableImage, match=expected):
            read_rgb(path)
    else:
        grey = RAMP if expected is None else expected
        np.testing.assert_array_equal(np.asarray(read_rgb(path)), np.stack([grey] * 3, -1))
    if declared:
        found = np.asarray(read_rgb(path, declared))
        np.testing.assert_array_equal(found, np.stack([RAMP] * 3, -1))


def test_every_loader_agrees(file):
    """The same pixels, or the same refusal, by each loader, in training, and by `Encoder`."""
    path, _, declared, _ = file
    init_default_scope('mmpretrain')
    steps = [
        dict(type='LoadImage'),
        dict(type='LoadNative', patch_size=16, min_grid=1, flip_prob=0),
        dict(type='LoadRandomResizedCrop', scale=16, crop_ratio_range=(1, 1), flip_prob=0),
    ]
    for value_range in (None, declared) if declared else (None,):
        for step in steps:
            load = TRANSFORMS.build(dict(step, value_range=value_range))
            try:
                whole = np.asarray(read_rgb(path, value_range))
            except UnreadableImage as error:
                with pytest.raises(UnreadableImage) as raised:
                    load.transform(dict(img_path=str(path)))
                assert str(raised.value) == str(error)
            else:
                found = load.transform(dict(img_path=str(path)))['img']
                assert found.shape == whole.shape and found.dtype == np.uint8
                if step['type'] != 'LoadRandomResizedCrop':
                    np.testing.assert_array_equal(found, whole)
                else:
                    assert abs(found.mean() - whole.mean()) < 12


def test_small_images_in_a_resized_copy(file, tmp_path_factory):
    """Linked if a reader needs no range, otherwise converted: the copy is read without a range."""
    path, _, declared, dtype = file
    value_range, out = declared or (9, 99), tmp_path_factory.mktemp('out')
    done = resize_images(path.parent, out, 16, 100, workers=1, value_range=value_range)
    if dtype == 'are bool':
        assert list(done['unreadable']) == [str(path)]
        return
    (copy,) = (each for each in out.iterdir() if each.name != 'resized.json')
    expected = np.asarray(read_rgb(path, value_range), int)
    try:
        kept = np.array_equal(read_rgb(path), expected)
    except UnreadableImage:
        kept = False
    assert (done['kept'], done['converted'], copy.samefile(path)) == (kept, not kept, kept)
    assert np.abs(expected - np.asarray(read_rgb(copy))).max() <= 9 * (not kept)


def test_one_channel(file, encoders):
    path, *_, expected = file
    if isinstance(expected, str):
        with pytest.raises((UnreadableImage, ValueError), match=expected):
            read_pixels(path, 1)
    else:
        found = read_pixels(path, 1)
        dtype, largest = expected
        assert found.shape == (16, 16, 1) and found.dtype == dtype and found.max() == largest
        assert len(np.unique(found)) > 1
        init_default_scope('mmpretrain')
        whole = dict(scale=16, crop_ratio_range=(1, 1), aspect_ratio_range=(1, 1))
        for step in (
            dict(type='LoadImage'),
            dict(type='LoadWindows', size=16, number=1, flip_prob=0),
            dict(type='LoadRandomResizedCrop', flip_prob=0, **whole),
        ):
            img = TRANSFORMS.build(dict(step, channels=1)).transform(dict(img_path=str(path)))[
                'img'
            ]
            np.testing.assert_array_equal(img.reshape(found.shape), found)
        numbers = encoders[1]([found.astype(float)]).pooled
        assert encoders[1]([path]).pooled.equal(numbers)


MODES = ('1', 'L', 'LA', 'P', 'I;16', 'I', 'F', 'RGB', 'CMYK')


@pytest.fixture(scope='module')
def encoders(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp('encoders'), {}
    for channels in (1, 3):
        vit = randomised(RPEViT(TINY_ARCH, 16, 8, in_channels=channels, out_type='featmap'))
        torch.save(vit.state_dict(), folder / f'{channels}.pth')
    made[3] = lomar.Encoder(folder / '3.pth', 'cpu')
    made['declared'] = lomar.Encoder(folder / '3.pth', 'cpu', value_range=(0, 510))
    made[1] = lomar.Encoder(folder / '1.pth', 'cpu', mean=[100.0], std=[50.0])
    return made


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """Return a checkpoint whose training had a value range of 0 to 510."""
    loader = dict(type='LoadRandomResizedCrop', scale=16, value_range=[0, 510])
    return stored(tmp_path_factory.mktemp('trained') / 'a.pth', loader)


def stored(path, loader):
    """Write a checkpoint whose training had a loader; None = a file without a config."""
    content = dict(state_dict=randomised(RPEViT(TINY_ARCH, 16, 8, out_type='featmap')).state_dict())
    if loader:
        cfg = dict(
            model=dict(type='LoMaR', backbone=dict(type='LoMaRViT', arch=TINY_ARCH)),
            train_dataloader=dict(dataset=dict(pipeline=[loader])),
        )
        content['meta'] = dict(cfg=Config(cfg).pretty_text)
    torch.save(content, path)
    return path


def test_an_encoder_has_the_range_of_the_training(trained, tmp_path, capsys):
    image = picture('I;16')
    encoder = lomar.Encoder(trained, 'cpu')
    found = encoder([image]).pooled
    assert encoder.input.reading.value_range == [0, 510]
    assert found.equal(lomar.Encoder(trained, 'cpu', value_range=(0, 510))([image]).pooled)
    given = lomar.Encoder(trained, 'cpu', value_range=(0, 1020))
    assert not found.equal(given([image]).pooled)
    facts = exportable(trained, 'encoder').facts
    assert facts['value_range'] == [0, 510] and 'converted value_range' in facts['pixels']
    # Own mean and deviation are those of the converted pixels.
    own = lomar.Encoder(trained, 'cpu', mean=encoder.mean, std=encoder.std)
    assert found.equal(own([image]).pooled)
    image.save(tmp_path / 'a.png')
    np.save(tmp_path / 'b.npy', np.array(image))
    assert main(['encode', str(trained), str(tmp_path), '--out', str(tmp_path / 'f.npz')]) == 0
    rows = np.load(tmp_path / 'f.npz')['features']
    assert len(rows) == 2 and np.allclose(rows, found, atol=1e-6)


CROP = dict(type='LoadRandomResizedCrop', scale=16)
BRIGHT = np.stack([RAMP * 200] * 3).astype(np.uint16)
READINGS = {  # loaders of a training, and whether they convert files to 8-bit RGB
    'crop': (CROP, True),
    'kept crop': (dict(CROP, convert=False), False),
    'former kept crop': (dict(type='LoadRandomResizedCropChannels', scale=16), False),
    'whole': (dict(type='LoadImage', channels=3), True),
    'windows': (dict(type='LoadWindows', size=8, number=1), False),
    'windows of crops': (dict(type='LoadWindows', size=8, number=1, scale=16, patch_size=8), True),
    'native': (dict(type='LoadNative', patch_size=8, min_grid=1), True),
    'unknown': (dict(type='LoadImageFromFile'), False),
    'none': (None, False),
}


@pytest.mark.parametrize('name', READINGS)
def test_an_encoder_reads_files_as_the_training_did(name, tmp_path):
    """Own mean and deviation belong to the numbers that the training saw."""
    loader, convert = READINGS[name]
    path = stored(tmp_path / 'a.pth', loader)
    tiff(BRIGHT, photometric='RGB')(tmp_path / 'a.tif')
    numbers = dict(mean=[100.0] * 3, std=[50.0] * 3)
    encoder = lomar.Encoder(path, 'cpu', **numbers)
    read = encoder.read(tmp_path / 'a.tif')
    assert read.dtype == (torch.uint8 if convert else torch.float32)
    assert read.max() == (255 * 200 // 256 if convert else 255 * 200)
    assert encoder.input.reading.reads_arrays is not convert
    floats = np.stack([RAMP / 255.0] * 3, -1)  # in memory, numbers are those of the caller
    assert encoder.read(floats).max() == 1


def test_a_reconstruction_reads_files_as_the_training_does(tmp_path):
    tiff(BRIGHT, photometric='RGB')(tmp_path / 'a.tif')
    for loader, convert in READINGS.values():
        cfg = dict(train_dataloader=dict(dataset=dict(pipeline=[loader] if loader else [])))
        reading = training_reading(cfg)
        if loader is None or 'FromFile' in loader['type']:
            assert reading is None
            continue
        assert reading == Reading(3, convert)
        batch = read_image(tmp_path / 'a.tif', 8, reading=reading)
        assert (batch.dtype == torch.uint8) == convert and batch.shape == (1, 3, 16, 16)


def test_statistics_of_converted_images(tmp_path, capsys):
    pillow((RAMP * 2).astype(np.uint16))(tmp_path / 'a.png')
    assert main(['statistics', str(tmp_path), '--value-range', '0', '510']) == 0
    said = capsys.readouterr().out
    assert '3 channels; images: 1 uint8; 256 pixels' in said and 'value_range=[0, 510]' in said
    found = channel_statistics(tmp_path, value_range=(0, 510))
    np.testing.assert_allclose([found.mean, found.std], [[RAMP.mean()] * 3, [RAMP.std()] * 3])
    for flags, message in (
        ('--value-range 0 510 --channels 1', '--value-range converts images to 8-bit RGB, and --c'),
        ('--value-range 0 510 --objects', '--value-range is for --pixels'),
        ('--value-range 9 0', 'value_range is .*; allowed: LOW less than HIGH'),
    ):
        assert main(['statistics', str(tmp_path), *flags.split()]) == 1
        assert re.search(message, capsys.readouterr().err)


def test_statistics_leave_out_files_that_need_rasterio(tmp_path, monkeypatch):
    tiff(BRIGHT, photometric='RGB')(tmp_path / 'a.tif')
    pillow(COLOURED)(tmp_path / 'b.png')
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    for value_range in (None, (0, 255)):
        found = channel_statistics(tmp_path, value_range=value_range)
        assert found.dtypes == {'uint8': 1} and [*found.unreadable] == [str(tmp_path / 'a.tif')]


def picture(mode):
    if mode == 'I;16':
        return Image.fromarray((RAMP * 2).astype(np.uint16))
    if mode in ('I', 'F'):
        return Image.fromarray((RAMP * 2).astype('int32' if mode == 'I' else 'float32'))
    return Image.fromarray(COLOURED if mode in ('RGB', 'CMYK') else GREY).convert(mode)


@pytest.mark.parametrize('mode', MODES)
def test_pillow_images_of_an_encoder(encoders, mode):
    image = picture(mode)
    rgb = encoders[3]
    if mode in ('I', 'F'):
        with pytest.raises(ValueError, match='range is unknown; for other numbers, give value_r'):
            rgb([image])
    else:
        grey = (np.asarray(image) // 257).astype(np.uint8) if mode == 'I;16' else None
        expected = Image.fromarray(grey) if grey is not None else image
        assert rgb([image]).pooled.equal(rgb([np.array(expected.convert('RGB'))]).pooled)
    if mode in ('I;16', 'I', 'F'):  # 0 to 510
        found = encoders['declared']([image]).pooled
        assert found.equal(rgb([np.stack([GREY] * 3, -1)]).pooled)
    one = encoders[1]
    if mode in ('RGB', 'CMYK'):
        with pytest.raises(ValueError, match=r'shape \(16, 16, 3\); allowed: \(H, W\)'):
            one([image])
    else:
        numbers = np.asarray(image if mode in ('I;16', 'I', 'F') else image.convert('L'), float)
        assert one([image]).pooled.equal(one([numbers[..., None]]).pooled)


def test_arrays_of_an_encoder(encoders):
    for channels in (1, 3):
        encoder = encoders[channels]
        whole = np.repeat(GREY[..., None], channels, 2)
        for given in (GREY, GREY[..., None]):
            assert encoder([given]).pooled.equal(encoder([whole]).pooled)
    assert encoders['declared']([RAMP * 2]).pooled.equal(encoders[3]([GREY]).pooled)
    for dtype in ('uint16', 'int32', 'float32', 'bool'):
        with pytest.raises((TypeError, ValueError), match='allowed: uint8'):
            encoders[3]([RAMP.astype(dtype)])


def test_arrays_of_a_pipeline():
    rgb = LoadImage().transform(GREY)['img']
    np.testing.assert_array_equal(rgb, np.stack([GREY] * 3, -1))
    np.testing.assert_array_equal(LoadImage(value_range=(0, 510)).transform(RAMP * 2)['img'], rgb)
    for dtype in ('uint16', 'int32', 'float32', 'bool'):
        with pytest.raises(ValueError, match=rf'an array is {dtype}; allowed: uint8.*value_range'):
            LoadImage().transform(RAMP.astype(dtype))
    grey = LoadImage(channels=1)
    for dtype, kept in (('uint8', 'uint8'), ('uint16', 'uint16'), ('float64', 'float32')):
        found = grey.transform(RAMP.astype(dtype))['img']
        assert found.dtype == kept and found.shape == (16, 16, 1)
        np.testing.assert_array_equal(found[..., 0], RAMP)


def config(channels=3, **step):
    step = dict(dict(type='LoadImage'), **step)
    cfg = dict(model=dict(backbone=dict(in_channels=channels)), value_range=[0, 4095])
    cfg['train_dataloader'] = dict(dataset=dict(pipeline=[step, dict(type='PackInputs')]))
    return Config(cfg)


def test_the_setting_of_a_config():
    for name in ('LoadImage', 'LoadRGB'):
        cfg = config(type=name)
        use_value_range(cfg)
        assert cfg.train_dataloader.dataset.pipeline[0].value_range == [0, 4095]
    cfg.custom_hooks = [dict(type='ProbeHook', images='a')]
    use_value_range(cfg)
    assert cfg.custom_hooks[0].value_range == [0, 4095]
    for cfg, message in [
        (config(channels=1), 'keeps the numbers of files, which data_preprocessor'),
        (config(convert=False), 'keeps the numbers of files, which data_preprocessor'),
        (config(type='LoadWindows', size=8, number=1), 'set without `scale`'),
        (config(type='LoadImageFromFile'), 'no step of train_dataloader reads it; allowed: with'),
    ]:
        use_channels(cfg)
        with pytest.raises(ValueError, match=message):
            use_value_range(cfg)
    for wrong in ([1, 0], [0, 0], [0], [0, float('nan')], ['a', 'b'], 5, np.zeros(3)):
        with pytest.raises(ValueError, match=r'LoadImage\.value_range is .*; allowed:'):
            LoadImage(value_range=wrong)


@pytest.mark.parametrize(
    'given', [(np.int8(-100), np.int8(100)), np.float32([-100, 100]), [np.int64(-100), 100.0]]
)
def test_ranges_of_numpy(given, tmp_path):
    values = np.linspace(-120, 120, 48, dtype=np.float32).reshape(6, 8)
    Image.fromarray(values).save(tmp_path / 'a.tif')
    expected = read_rgb(tmp_path / 'a.tif', (-100, 100))
    load = LoadImage(value_range=given)
    found = load(dict(img_path=str(tmp_path / 'a.tif')))['img'][..., ::-1]
    np.testing.assert_array_equal(found, expected)
    (tmp_path / 'in').mkdir()
    shutil.copy(tmp_path / 'a.tif', tmp_path / 'in')
    done = resize_images(tmp_path / 'in', tmp_path / 'out', 16, workers=1, value_range=given)
    assert done['value_range'] == [-100, 100] and done['converted'] == 1


RAW_LOADERS = {
    'LoadImage': {},
    'LoadRandomResizedCrop': dict(scale=8),
    'LoadWindows': dict(size=8, number=1),
    'LoadWindows of crops': dict(size=8, number=1, scale=16, patch_size=8),
}


@pytest.mark.parametrize('other', ['uint16', 'float32'])
@pytest.mark.parametrize('name', RAW_LOADERS)
def test_files_of_two_types_have_no_common_scale(tmp_path, name, other):
    step = dict(type=name.partition(' ')[0], channels=1, **RAW_LOADERS[name])
    load = TRANSFORMS.build(step)
    for kind in ('uint8', other):
        np.save(tmp_path / f'{kind}.npy', RAMP.astype(kind))
    for _ in range(2):  # the same type again is no error
        load(dict(img_path=str(tmp_path / 'uint8.npy')))
    with pytest.raises(
        ValueError, match=rf'{other}\.npy has {other} pixels, and .*uint8; allowed:'
    ):
        load(dict(img_path=str(tmp_path / f'{other}.npy')))


@pytest.mark.parametrize(('channels', 'noted'), [(1, True), (3, True), (5, False)])
def test_statistics_note_dark_images_for_models_of_8_bits(tmp_path, capsys, channels, noted):
    pixels = np.arange(16 * 16 * channels, dtype='uint16').reshape(16, 16, channels)
    np.save(tmp_path / 'a.npy', pixels)
    assert main(['statistics', str(tmp_path)]) == 0
    assert ('files of' in capsys.readouterr().out) == noted


def test_statistics_of_grey_files_of_two_formats(tmp_path, capsys):
    for name in ('a.png', 'b.tif'):
        pillow(RAMP.astype('uint8'))(tmp_path / name)
    assert main(['statistics', str(tmp_path)]) == 1
    assert '--channels 1 reads grey PNG' in capsys.readouterr().err
    assert main(['statistics', str(tmp_path), '--channels', '1']) == 0


@pytest.mark.parametrize(
    ('factor', 'declared', 'dark'), [(16, None, True), (257, None, False), (16, (0, 4095), False)]
)
def test_dark_images_are_noted(tmp_path, monkeypatch, factor, declared, dark):
    init_default_scope('mmpretrain')
    lines = []
    monkeypatch.setattr('lomar.datasets.readable.print_log', lambda line, **_: lines.append(line))
    for number in range(3):
        png16(factor, 1)(tmp_path / f'{number}.png')
    load = dict(type='LoadImage', value_range=declared)
    pipeline = [load, dict(type='PackInputs')]
    DATASETS.build(dict(type='UnlabelledImages', data_root=str(tmp_path), pipeline=pipeline))
    assert [' 4080 of 65535; files of 12 bits' in line for line in lines] == [True] * dark


@pytest.mark.parametrize('suffix', ['png', 'tif'])
@pytest.mark.parametrize('channels', [1, 3])
def test_the_largest_number_of_16_bits(tmp_path, suffix, channels):
    path = tmp_path / f'a.{suffix}'
    png16(16, channels)(path)  # OpenCV writes what the suffix says
    assert largest_of_16_bits(path) == 4080


@pytest.mark.parametrize(('largest', 'note'), [(0, 0), (31, 1), (32, 0), (255, 0)])
def test_what_is_dark(largest, note):
    assert bool(dark_note(largest, 255)) == bool(note)


def test_the_commands(tmp_path, capsys):
    folder = tmp_path / 'images'
    folder.mkdir()
    for number in range(3):
        tiff((RAMP * 16).astype('int32'))(folder / f'{number}.tif')
    train = ['train', 'lomar_pretrain', '--train-images', str(folder), '--print-config']
    assert main([*train, '--cfg-options', 'value_range=[0,4080]']) == 0
    assert re.search(r'value_range=\[\s*0,\s*4080', capsys.readouterr().out)
    resize = ['resize', str(folder), '--short-side', '16', '--workers', '1']
    assert main([*resize, str(tmp_path / 'a')]) == 0
    assert '3 unreadable' in capsys.readouterr().out
    assert main([*resize, str(tmp_path / 'b'), '--value-range', '0', '4080']) == 0
    assert '0 resized, 3 converted, 0 kept, 0 there already, 0 unread' in capsys.readouterr().out
    for path in folder.iterdir():
        path.unlink()
    png16(16, 1)(folder / '1.png')
    coco = dict(
        images=[dict(id=1, file_name='1.png', width=16, height=16)],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[2, 2, 8, 8])],
        categories=[dict(id=1, name='ring')],
    )
    coco['annotations'][0]['segmentation'] = [[2, 2, 10, 2, 10, 10, 2, 10]]
    (tmp_path / 'a.json').write_text(json.dumps(coco))
    check = ['check', 'detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco']
    for split in ('train', 'val'):
        check += [f'--{split}-ann', str(tmp_path / 'a.json'), f'--{split}-images', str(folder)]
    assert main(check) == 0
    assert 'images: the largest value of the images is 4080' in capsys.readouterr().out
    assert main([*check, '--cfg-options', 'value_range=[0,4095]']) == 0
    assert 'largest value' not in capsys.readouterr().out
    assert main(['statistics', str(folder)]) == 0
    out = capsys.readouterr().out
    assert '3 channels' in out and 'the largest value of the images is 15 of 255' in out
    assert main(['statistics', str(folder), '--channels', '1']) == 0
    out = capsys.readouterr().out
    assert '1 channels; images: 1 uint16' in out and 'is 4080 of 65535; files of 12 bits' in out
