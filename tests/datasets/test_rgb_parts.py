"""Parts of image files as 8-bit RGB: equal to the whole image, and decoded alone where possible."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from lomar.datasets import UnreadableImage, read_rgb, rgb_parts
from lomar.datasets.pixel_file import ArrayFile
from lomar.datasets.rgb_parts import open_rgb

rasterio = pytest.importorskip('rasterio')

HEIGHT, WIDTH = 70, 90
PARTS = [(0, 0, HEIGHT, WIDTH), (0, 0, 1, 1), (13, 21, 40, 50), (HEIGHT - 16, WIDTH - 16, 16, 16)]


def numbers(channels=3, dtype=np.uint8, low=0):
    high = {'uint8': 256, 'uint16': 4096}.get(np.dtype(dtype).name, 1000)
    shape = (HEIGHT, WIDTH, channels)
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


def geotiff(pixels, overviews=False, **options):
    """Return a function that writes a TIFF file in tiles, as programs for maps do."""

    def write(path):
        height, width, channels = pixels.shape
        profile = dict(height=height, width=width, count=channels, dtype=pixels.dtype)
        tiles = dict(tiled=True, blockxsize=32, blockysize=32, driver='GTiff')
        with rasterio.open(path, 'w', **tiles, **{**profile, **options}) as file:
            file.write(pixels.transpose(2, 0, 1))
        if overviews:
            with rasterio.open(path, 'r+') as file:
                file.build_overviews([2, 4])

    return write


def pillow(*images, **options):
    """Return a function that writes images with Pillow."""
    first, *others = map(Image.fromarray, images)
    more = dict(save_all=True, append_images=others) if others else {}
    return lambda path: first.save(path, **more, **options)


# How to write a file, its suffix, and whether its parts are decoded alone.
FILES = {
    'RGB': (geotiff(numbers()), '.tif', True),
    'strips': (pillow(numbers()), '.tif', True),
    'compressed': (geotiff(numbers(), compress='deflate', predictor=2), '.tif', True),
    'JPEG in TIFF': (geotiff(numbers(), compress='jpeg', photometric='rgb'), '.tif', True),
    'YCbCr in TIFF': (geotiff(numbers(), compress='jpeg', photometric='ycbcr'), '.tif', False),
    'bands apart': (geotiff(numbers(), interleave='band', photometric='rgb'), '.tif', True),
    'BigTIFF': (geotiff(numbers(), BIGTIFF='YES'), '.tif', True),
    'overviews': (geotiff(numbers(), overviews=True), '.tif', True),
    'grey': (geotiff(numbers(1)), '.tif', True),
    'RGBA': (geotiff(numbers(4), ALPHA='YES', photometric='rgb'), '.tif', True),
    'RGB and another band': (geotiff(numbers(4), ALPHA='NO', photometric='rgb'), '.tif', True),
    'grey and alpha': (pillow(numbers(2)), '.tif', False),
    '16 bits': (geotiff(numbers(1, np.uint16)), '.tif', True),
    'black is nodata': (geotiff(numbers(), nodata=0), '.tif', True),
    'white is nodata': (geotiff(numbers(), nodata=255), '.tif', False),
    'rotated': (pillow(numbers(), tiffinfo={274: 6}), '.tif', False),
    'thumbnail': (pillow(numbers(), numbers(low=9)[::2, ::2]), '.tif', False),
    'CMYK': (lambda path: Image.fromarray(numbers(4), 'CMYK').save(path), '.tif', False),
    '1 bit': (lambda path: Image.fromarray(numbers(1)[..., 0] > 99).save(path), '.tif', False),
    'PNG': (pillow(numbers()), '.png', False),
    'PNG with alpha': (pillow(numbers(4)), '.png', False),
    'JPEG': (pillow(numbers()), '.jpg', False),
}
WITH_RANGE = {
    '16 bits': (geotiff(numbers(1, np.uint16)), '.tif', True),
    '3 x 16 bits': (geotiff(numbers(3, np.uint16), photometric='rgb'), '.tif', True),
    'bands of 16 bits': (geotiff(numbers(3, np.uint16)), '.tif', True),
    'floats': (geotiff(numbers(3, np.float32)), '.tif', True),
    'signed': (geotiff(numbers(1, np.int16)), '.tif', False),
    '8 bits': (geotiff(numbers()), '.tif', True),
    'array': (lambda path: np.save(path, numbers(1, np.uint16)), '.npy', True),
    'array of three': (lambda path: np.save(path, numbers(3, np.float64)), '.npy', True),
    'PNG of 16 bits': (pillow(numbers(1, np.uint16)[..., 0]), '.png', False),
}
CASES = [(kind, file, None) for kind, file in FILES.items()] + [
    (kind, file, (10, 900)) for kind, file in WITH_RANGE.items()
]


@pytest.mark.parametrize(('kind', 'file', 'values'), CASES, ids=lambda value: str(value)[:18])
def test_parts(kind, file, values, tmp_path):
    write, suffix, alone = file
    path = tmp_path / f'a{suffix}'
    write(path)
    whole = np.asarray(read_rgb(path, values))
    with open_rgb(path, values) as opened:
        assert (opened.height, opened.width, opened.channels) == whole.shape
        assert opened.dtype == np.uint8
        assert isinstance(opened, ArrayFile) != alone
        sides = whole.shape[:2]
        for top, left, height, width in PARTS:
            if top + height > sides[0] or left + width > sides[1]:
                continue  # of the rotated image
            part = opened.read(top, left, height, width)
            assert np.array_equal(part, whole[top : top + height, left : left + width])


def test_without_rasterio(tmp_path, monkeypatch):
    """TIFF files that Pillow reads are decoded whole."""
    geotiff(numbers())(tmp_path / 'a.tif')
    monkeypatch.setattr(rgb_parts, 'find_spec', lambda name: None)
    with open_rgb(tmp_path / 'a.tif') as file:
        assert isinstance(file, ArrayFile)
        assert np.array_equal(file.read(0, 0, HEIGHT, WIDTH), numbers())


REFUSED = {
    'stack': (pillow(numbers(), numbers(low=9)), '.tif', 'has 2 pages of one size'),
    'missing': (None, '.png', 'FileNotFoundError'),
    'damaged': (lambda path: path.write_bytes(b'II*\0no image'), '.tif', 'UnidentifiedImageError'),
    'array': (lambda path: np.save(path, numbers()), '.npy', 'need `channels`'),
    'bands': (geotiff(numbers(5)), '.tif', 'UnidentifiedImageError'),
    'floats': (geotiff(numbers(1, np.float32)), '.tif', 'whose range is unknown'),
}


@pytest.mark.parametrize('kind', REFUSED)
def test_refused(kind, tmp_path):
    """What `read_rgb` refuses is refused for the same reason."""
    write, suffix, reason = REFUSED[kind]
    path = tmp_path / f'a{suffix}'
    if write:
        write(path)
    with pytest.raises(UnreadableImage, match=reason) as expected:
        read_rgb(path)
    with pytest.raises(UnreadableImage) as found, open_rgb(path):
        pass
    assert str(found.value) == str(expected.value)


def test_a_damaged_part(tmp_path):
    """Parts beside the damage can be read."""
    path = tmp_path / 'a.tif'
    geotiff(numbers(), compress='deflate')(path)
    content = bytearray(path.read_bytes())
    content[-2000:-1000] = bytes(1000)
    path.write_bytes(content)
    with open_rgb(path) as file:
        assert np.array_equal(file.read(0, 0, 32, 32), numbers()[:32, :32])
        with pytest.raises(UnreadableImage):
            file.read(0, 0, HEIGHT, WIDTH)


def test_no_limit_of_pixels(tmp_path, monkeypatch):
    """Pillow refuses images of many pixels; whoever reads parts wants them."""
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    for suffix in ('.png', '.tif'):
        Image.fromarray(numbers()).save(tmp_path / f'a{suffix}')
        with pytest.raises(UnreadableImage, match='DecompressionBomb'):
            read_rgb(tmp_path / f'a{suffix}')
        with open_rgb(tmp_path / f'a{suffix}') as file:
            assert np.array_equal(file.read(0, 0, HEIGHT, WIDTH), numbers())
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_memory_of_a_part(tmp_path):
    """A part of a large file needs the memory of the part."""
    path, side = tmp_path / 'a.tif', 6000
    profile = dict(height=side, width=side, count=3, dtype='uint8', photometric='rgb')
    with rasterio.open(path, 'w', driver='GTiff', tiled=True, sparse_ok=True, **profile):
        pass
    tracemalloc.start()
    with open_rgb(path) as file:
        assert file.read(3000, 3000, 256, 256).shape == (256, 256, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6 < side * side * 3
