"""Files of many channels, 8-bit, 16-bit and float: whole, in parts, damaged, and foreign ones."""

import resource
import sys
import warnings

import numpy as np
import pytest
from test_loading import photograph

from lomar.datasets import UnreadableImage, open_pixels, read_pixels, read_rgb

rasterio = pytest.importorskip('rasterio')


def scene(channels, dtype='uint16', height=80, width=96, seed=0):
    """Smooth pixels (H, W, C), a pattern shifted from channel to channel, of 0 to 4000 or 250."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width] / 16
    angle, phase = rng.uniform(0, 6.3, 2)
    waves = np.sin(np.cos(angle) * rows + np.sin(angle) * columns + phase)[..., None]
    waves = np.sin(2 * waves + np.arange(channels)) + 1
    return (waves * (125 if dtype == 'uint8' else 2000)).astype(dtype)


def write_tiff(path, pixels, **settings):
    settings = dict(tiled=True, blockxsize=32, blockysize=32, compress='deflate') | settings
    height, width, count = pixels.shape
    shape = dict(height=height, width=width, count=count, dtype=pixels.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, 'w', driver='GTiff', **shape, **settings) as file:
            file.write(pixels.transpose(2, 0, 1))


def write_pages(path, pixels):
    tifffile = pytest.importorskip('tifffile')
    with tifffile.TiffWriter(path) as file:
        for channel in range(pixels.shape[2]):
            file.write(pixels[..., channel], contiguous=False)


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('channels', [1, 4, 13])
@pytest.mark.parametrize('dtype', ['uint8', 'uint16', 'float32'])
def test_files_come_back_whole_and_in_parts(tmp_path, dtype, channels):
    pixels = scene(channels, dtype)
    np.save(tmp_path / 'a.npy', pixels[..., 0] if channels == 1 else pixels)
    write_tiff(tmp_path / 'bands.tif', pixels)
    write_pages(tmp_path / 'pages.tiff', pixels)
    (tmp_path / 'bands.tif').rename(tmp_path / 'named_otherwise.png')
    for path in tmp_path.iterdir():
        with open_pixels(path) as file:
            assert (file.height, file.width, file.channels) == (80, 96, channels)
            part = file.read(11, 29, 40, 60)
            with pytest.raises(ValueError, match='allowed: within the image of 80 x 96'):
                file.read(50, 0, 31, 96)
        assert part.dtype == file.dtype == dtype and part.flags.c_contiguous
        np.testing.assert_array_equal(part, pixels[11:51, 29:89])
        np.testing.assert_array_equal(read_pixels(path), pixels)


def test_other_numbers_become_float32_and_pictures_rgb(tmp_path):
    for dtype in ('int8', 'int16', 'uint32', 'int64', 'float16', 'float64', '>i4'):
        pixels = scene(2, 'uint8').astype(dtype) // 2
        np.save(tmp_path / 'a.npy', pixels)
        assert read_pixels(tmp_path / 'a.npy').dtype == np.float32
        np.testing.assert_array_equal(read_pixels(tmp_path / 'a.npy'), pixels.astype('float32'))
    np.save(tmp_path / 'a.npy', scene(2).astype('>u2'))
    assert read_pixels(tmp_path / 'a.npy').dtype == np.dtype('uint16')
    photograph(50, 40).save(tmp_path / 'a.jpg')
    np.testing.assert_array_equal(read_pixels(tmp_path / 'a.jpg'), read_rgb(tmp_path / 'a.jpg'))


def test_parts_of_files_that_no_memory_holds(tmp_path):
    """An array of 41 GB with one tile in it; the rest is nowhere, and is never looked at."""
    side, tile = 40000, np.arange(13 * 512 * 512).astype(np.uint16).reshape(13, 512, 512)
    shape = dict(height=side, width=side, count=13, dtype='uint16')
    tiles = dict(tiled=True, blockxsize=512, blockysize=512, SPARSE_OK=True, BIGTIFF='YES')
    window = rasterio.windows.Window(30720, 20480, 512, 512)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(tmp_path / 'a.tif', 'w', driver='GTiff', **shape, **tiles) as file:
            file.write(tile, window=window)
    array = np.lib.format.open_memmap(tmp_path / 'a.npy', 'w+', 'uint16', (side, side, 13))
    array[20480 : 20480 + 512, 30720 : 30720 + 512] = tile.transpose(1, 2, 0)
    del array
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name in ('a.tif', 'a.npy'):
        with open_pixels(tmp_path / name) as file:
            assert (file.height, file.width, file.channels) == (side, side, 13)
            part = file.read(20480, 30720, 512, 512)
        np.testing.assert_array_equal(part, tile.transpose(1, 2, 0))
    # In kB on Linux. The tile has 7 MB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000


def test_nodata_is_zero_and_nan_is_refused(tmp_path):
    pixels = scene(2, 'float32')
    for nodata in (np.nan, -9999.0):
        holes = pixels.copy()
        holes[:5] = nodata
        write_tiff(tmp_path / 'a.tif', holes, nodata=nodata)
        holes[:5] = 0
        np.testing.assert_array_equal(read_pixels(tmp_path / 'a.tif'), holes)
    pixels[3, 4, 1] = np.inf
    write_tiff(tmp_path / 'a.tif', pixels)
    np.save(tmp_path / 'a.npy', pixels)
    for name in ('a.tif', 'a.npy'):
        with pytest.raises(UnreadableImage, match=f'{name}: .*1 of 15360 numbers are NaN or'):
            read_pixels(tmp_path / name)


def test_damaged_and_foreign_files(tmp_path):
    write_tiff(tmp_path / 'a.tif', scene(13))
    np.save(tmp_path / 'a.npy', scene(13))
    for name in ('a.tif', 'a.npy'):
        whole = (tmp_path / name).read_bytes()
        for length in (0, 7, 100, len(whole) // 2, len(whole) - 9):
            (tmp_path / name).write_bytes(whole[:length])
            with pytest.raises(UnreadableImage, match=name):
                read_pixels(tmp_path / name)
    for number, wrong in enumerate(
        ([[1j]], [[True]], [[None]], [1, 2], np.zeros((0, 4)), np.zeros((2, 2, 2, 2)))
    ):
        np.save(tmp_path / f'{number}.npy', np.array(wrong), allow_pickle=True)
        with pytest.raises(UnreadableImage, match=f'{number}.npy: ValueError'):
            read_pixels(tmp_path / f'{number}.npy')
    for absent in (tmp_path / 'absent.tif', 'https://example.org/a.tif', '/vsicurl/a.tif'):
        with pytest.raises(UnreadableImage, match='No such file'):
            read_pixels(absent)
    # A file that names others is none of TIFF's, and one that lies beside it is not looked at.
    write_tiff(tmp_path / 'b.tif', scene(1))
    value = int(scene(1)[0, 0, 0])
    vrt = '<VRTDataset rasterXSize="80" rasterYSize="96"></VRTDataset>'
    (tmp_path / 'vrt.tif').write_text(vrt)
    with pytest.raises(UnreadableImage, match=r'vrt\.tif: UnidentifiedImageError'):
        read_pixels(tmp_path / 'vrt.tif')
    with pytest.raises(UnreadableImage, match=r'0\.npy: .* need `channels` or convert=False'):
        read_rgb(tmp_path / '0.npy')
    beside = f'<NoDataValue>{value}</NoDataValue>'
    beside = f'<PAMDataset><PAMRasterBand band="1">{beside}</PAMRasterBand></PAMDataset>'
    (tmp_path / 'b.tif.aux.xml').write_text(beside)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        with rasterio.open(tmp_path / 'b.tif') as file:
            assert file.nodata == value != 0  # by itself, rasterio does look
    np.testing.assert_array_equal(read_pixels(tmp_path / 'b.tif'), scene(1))


def test_without_rasterio(tmp_path, monkeypatch):
    photograph(50, 40).save(tmp_path / 'rgb.tif')
    write_tiff(tmp_path / 'a.tif', scene(3))
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    assert read_pixels(tmp_path / 'rgb.tif').shape == (40, 50, 3)
    write_pages(tmp_path / 'pages.tif', scene(2, 'uint8'))
    for name in ('a.tif', 'pages.tif'):
        with pytest.raises(ImportError, match=r'pip install lomar-openmmlab\[rasters\]'):
            read_pixels(tmp_path / name)
    with pytest.raises(ImportError, match=r'pip install lomar-openmmlab\[rasters\]'):
        read_rgb(tmp_path / 'a.tif', value_range=(0, 4095))  # Pillow decodes 8 of the 16 bits
