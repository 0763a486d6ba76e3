"""Fast loading: the Pillow pipeline's crops and pixels, for whatever files people have."""

import io
import json
import pickle
import sys

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from lomar.datasets import UnreadableImage, random_resized_crop, read_rgb
from lomar.datasets.resize_folder import _resize, resize_images

RANGE = (0.2, 1.0)
PACK = dict(type='PackInputs')


def pipelines(scale):
    """Ours, and mmpretrain's on `LoadImage`."""
    init_default_scope('mmpretrain')
    ours = dict(type='LoadRandomResizedCrop', scale=scale, crop_ratio_range=RANGE)
    crop = dict(ours, type='RandomResizedCrop', backend='pillow', interpolation='bicubic')
    flip = dict(type='RandomFlip', prob=0.5)
    return Compose([ours, PACK]), Compose([dict(type='LoadImage'), crop, flip, PACK])


@pytest.fixture(params=['simplejpeg', 'torchvision'])
def decoder(request, monkeypatch):
    """One decoder after the other, the first where it is installed."""
    if request.param == 'torchvision':
        monkeypatch.setattr(random_resized_crop, 'simplejpeg', None)
    else:
        pytest.importorskip('simplejpeg')


def photograph(width, height, seed=0):
    """Detail at all scales, as in photographs: noise whose amplitude falls with its frequency."""
    rng = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for cells in (3, 7, 15, 31, 63, 127, 255, 511):
        coarse = rng.standard_normal((cells, cells, 3), np.float32)
        image += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / cells**0.6
    image = (image - image.mean()) / image.std() * 55 + 120
    return Image.fromarray(image.clip(0, 255).astype(np.uint8))


def run(pipeline, path, seed):
    np.random.seed(seed)
    sample = pipeline(dict(img_path=str(path)))
    return sample['inputs'], sample['data_samples'].to_dict()


def difference(path, scale, seeds):
    """Largest and mean difference of pixels; everything else must be equal."""
    ours, theirs = pipelines(scale)
    gaps = []
    for seed in seeds:
        (mine, meta), (reference, expected) = run(ours, path, seed), run(theirs, path, seed)
        assert mine.shape == reference.shape and mine.dtype == torch.uint8
        assert meta == expected
        gaps.append((mine.int() - reference.int()).abs())
    gaps = torch.stack(gaps).float()
    return gaps.max().item(), gaps.mean().item()


@pytest.mark.parametrize('save', [{}, dict(quality=98, subsampling=0), dict(progressive=True)])
@pytest.mark.parametrize('mode', ['RGB', 'L'])
def test_same_crop_flip_and_pixels(tmp_path, decoder, mode, save):
    photograph(500, 375).convert(mode).save(tmp_path / 'a.jpg', **save)
    largest, mean = difference(tmp_path / 'a.jpg', 224, range(20))
    # The decoders agree to the bit. The two resizers hold their weights with different precision,
    # so each of their passes, along and across, may round to the other side.
    assert largest <= 2 and 0 < mean < 0.05


def test_hard_edges_differ_by_the_order_of_passes(tmp_path):
    page = np.full((375, 500, 3), 255, np.uint8)
    for line in range(9):
        cv2.putText(page, 'black on white' * 2, (5, 40 * line + 30), 0, 0.9, (0, 0, 0), 2)
    Image.fromarray(page).save(tmp_path / 'a.jpg', quality=95)
    # Between the two passes overshoot is cut off; Pillow 13 turns their order round where the
    # height shrinks more than the width.
    largest, mean = difference(tmp_path / 'a.jpg', 224, range(20))
    assert largest <= 40 and mean < 0.5


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 2**32 - 1))
def test_same_at_any_size(tmp_path_factory, width, height, seed):
    path = tmp_path_factory.getbasetemp() / 'any.jpg'
    # Half the contrast: no overshoot is cut off, so that rounding alone is left.
    photograph(width, height, seed % 5).point(lambda value: 60 + value // 2).save(path)
    assert difference(path, (24, 40), [seed])[0] <= 2


@pytest.mark.parametrize('size', [(1000, 800), (1203, 901)])
@pytest.mark.parametrize('orientation', [1, 2, 3, 4, 5, 6, 7, 8])
def test_large_files_are_decoded_smaller(tmp_path, size, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph(*size).save(tmp_path / 'a.jpg', exif=exif, quality=92)
    jpeg = random_resized_crop._Jpeg.open(tmp_path / 'a.jpg')
    odd = orientation > 1 and size[0] % 2
    assert jpeg._reduction((0, 0, 600, 600), (64, 64)) == (1 if odd else 4)
    largest, mean = difference(tmp_path / 'a.jpg', 64, range(6))
    # libjpeg averages blocks of pixels, Pillow weighs each. Where all is decoded Pillow does it.
    assert (largest, mean) == (0, 0) if odd else 0 < largest <= 8 and mean < 0.4


def save(path, kind):
    image = photograph(70, 50)
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'<x:xmpmeta tiff:Orientation="6"/>'
    options = dict(
        turned=dict(exif=exif), xmp=dict(xmp=xmp), tiff=dict(format='TIFF'), png=dict(format='PNG')
    )
    mode = dict(cmyk='CMYK', palette='P', alpha='RGBA').get(kind, 'RGB')
    options['palette'] = options['alpha'] = options['png']
    image.convert(mode).save(path, **options.get(kind, {}))


@pytest.mark.parametrize('kind', ['png', 'palette', 'alpha', 'tiff', 'cmyk', 'turned', 'xmp'])
def test_other_files_give_what_pillow_gives(tmp_path, kind):
    save(tmp_path / 'a.jpg', kind)  # by content, not by name
    assert difference(tmp_path / 'a.jpg', 32, range(8)) == (0, 0)


def test_damaged_files_raise_what_they_did(tmp_path, decoder):
    stream = io.BytesIO()
    photograph(300, 240).save(stream, 'JPEG')
    whole, path = stream.getvalue(), tmp_path / 'a.jpg'
    ours, _ = pipelines(32)
    middle = len(whole) // 2
    damaged = [whole[:cut] for cut in (0, 1, 30, 200, 700, middle, len(whole) - 40)]
    damaged += [whole[:cut] for cut in (len(whole) - 2, len(whole) - 1)]  # all rows are there
    damaged += [whole[:middle] + b'\xff\xd9', whole[:middle] + bytes(900) + whole[middle + 900 :]]
    outcomes = []
    for content in damaged:
        path.write_bytes(content)
        try:
            expected = read_rgb(path)
        except UnreadableImage as error:
            with pytest.raises(UnreadableImage) as raised:
                run(ours, path, 0)
            assert raised.value.reason == error.reason and raised.value.path == str(path)
            outcomes.append('raises')
        else:
            assert expected.size == (300, 240)
            assert difference(path, 224, range(3))[1] < 0.1  # hard edges: see above
            outcomes.append('reads')
    assert {'raises', 'reads'} <= set(outcomes) and outcomes[:6] == ['raises'] * 6
    path.unlink()
    with pytest.raises(UnreadableImage, match='No such file'):
        run(ours, path, 0)


def test_worker_processes_load_the_same(photographs):
    from mmengine.registry import DATA_SAMPLERS, DATASETS

    init_default_scope('mmpretrain')
    pipeline = [dict(type='LoadRandomResizedCrop', scale=32), PACK]
    dataset = DATASETS.build(
        dict(type='UnlabelledImages', data_root=str(photographs), pipeline=pipeline)
    )

    def images(workers):
        sampler = DATA_SAMPLERS.build(dict(type='ReplaySampler', dataset=dataset, seed=4))
        loader = torch.utils.data.DataLoader(
            dataset, 4, sampler=sampler, num_workers=workers, collate_fn=list
        )
        return torch.stack([sample['inputs'] for batch in loader for sample in batch])

    here = images(0)
    assert here.shape == (8, 3, 32, 32) and torch.equal(here, images(1))
    dataset.pipeline = pickle.loads(pickle.dumps(dataset.pipeline))
    assert torch.equal(here, images(0))


def test_resized_folder(tmp_path):
    source, out = tmp_path / 'in', tmp_path / 'out'
    (source / 'deep').mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(400, 100).save(source / 'wide.jpg', exif=exif)
    photograph(90, 60).save(source / 'deep' / 'large.png')
    photograph(50, 40).save(source / 'deep' / 'small.png')
    (source / 'broken.jpg').write_text('no image')
    first = resize_images(source, out, 50, workers=1)
    assert (first['resized'], first['kept'], first['already_there']) == (2, 1, 0)
    assert list(first['unreadable']) == [str(source / 'broken.jpg')]
    assert json.loads((out / 'resized.json').read_text()) == first
    files = {str(path.relative_to(out)) for path in out.rglob('*.*g')}
    assert files == {'wide.jpg', 'deep/large.png.jpg', 'deep/small.png'}
    assert Image.open(out / 'wide.jpg').size == (50, 200)  # upright
    assert Image.open(out / 'deep/large.png.jpg').size == (75, 50)
    assert (out / 'deep/small.png').samefile(source / 'deep/small.png')
    small = photograph(400, 100).rotate(-90, expand=True).resize((50, 200), Image.LANCZOS)
    gap = np.abs(np.asarray(small, int) - np.asarray(Image.open(out / 'wide.jpg'), int))
    assert gap.mean() < 12  # two times JPEG; turned the other way round it is about 40


def test_resizing_goes_on_where_it_was_stopped(tmp_path, photographs):
    out = tmp_path / 'out'
    resize_images(photographs, out, 20, workers=1)
    before = (out / '0.jpg').stat().st_mtime_ns
    (out / '3.jpg').unlink()
    (out / '.3.jpg.part').write_text('half')  # what a killed run leaves
    again = resize_images(photographs, out, 20, workers=1)
    assert (again['resized'], again['already_there']) == (1, 7)
    assert (out / '0.jpg').stat().st_mtime_ns == before
    assert not list(out.glob('.*')) and Image.open(out / '3.jpg').size == (28, 20)
    for wrong, message in [
        (dict(out=out, short_side=24), 'was made with'),
        (dict(out=photographs / 'x', short_side=20), 'must not be inside'),
        (dict(out=tmp_path, short_side=20), 'not empty'),
        (dict(out=out, short_side=20, quality=0), '--quality must be 1 to 100, got 0'),
    ]:
        with pytest.raises(ValueError, match=message):
            resize_images(photographs, **wrong)


def test_resizing_of_the_longest_names(tmp_path):
    """Names of 255 bytes; OUT adds .jpg to that of the second, which is too long for a disk."""
    source, out = tmp_path / 'in', tmp_path / 'out'
    source.mkdir()
    right, wrong = f'{"é" * 125}b.jpg', f'{"a" * 251}.png'
    for name in (right, wrong):
        photograph(90, 60).save(source / name)
    done = resize_images(source, out, 20, workers=1)
    assert done['resized'] == 1 and sorted(path.name for path in out.iterdir()) == [
        'resized.json',
        right,
    ]
    ((path, reason),) = done['unreadable'].items()
    assert path == str(source / wrong) and 'OUT would be too long; rename the image' in reason


def test_resizing_leaves_out_files_that_need_rasterio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    source, path = tmp_path / 'in', tmp_path / 'in/z.tif'
    source.mkdir()
    cv2.imwrite(str(path), np.zeros((64, 64, 3), np.float32))  # Pillow cannot read it
    settings = dict(source=source, out=tmp_path, short_side=30, quality=90, value_range=(0, 255))
    done, reason = _resize(str(path), **settings)
    assert done == 'unreadable' and 'z.tif is a TIFF file other than 8-bit RGB: pip' in reason


def test_resizing_to_more_pixels_than_jpeg_has(tmp_path):
    source = tmp_path / 'in'
    source.mkdir()
    Image.new('L', (90_000, 40)).save(source / 'line.png')
    photograph(90, 60).save(source / 'a.png')
    done = resize_images(source, tmp_path / 'out', 30, workers=1)
    reason = '30 x 67500 pixels after resizing; allowed in JPEG: 65500 per side'
    assert done['resized'] == 1 and done['unreadable'] == {str(source / 'line.png'): reason}


@pytest.mark.parametrize('content', [b'', b'[]', b'null', b'\xff', b'[' * 100_000])
def test_a_summary_that_cannot_be_read(content, tmp_path, photographs):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/resized.json').write_bytes(content)
    message = r'out/resized\.json: .*; allowed: the file of an earlier `lomar resize`, or another'
    with pytest.raises(ValueError, match=message):
        resize_images(photographs, tmp_path / 'out', 20, workers=1)


def test_resizing_gives_no_two_images_one_name(tmp_path):
    source = tmp_path / 'in'
    source.mkdir()
    for name in ('a.png', 'a.png.jpg'):
        photograph(90, 60).save(source / name)
    with pytest.raises(ValueError, match=r'a\.png and .*a\.png\.jpg would have one name in OUT'):
        resize_images(source, tmp_path / 'out', 20, workers=1)
