"""Images that are empty, cut off, or far larger than memory: a limit in every reader."""

import re
import resource
import shutil
import struct
import zlib

import numpy as np
import pytest
from conftest import FIXTURES
from PIL import Image
from trainings import one_line, train, words

from lomar.cli import main
from lomar.datasets.image_io import is_readable, read_pixels, read_rgb
from lomar.datasets.load_image import LoadImage
from lomar.datasets.random_resized_crop import LoadRandomResizedCrop
from lomar.datasets.unreadable import UnreadableImage

OLD = FIXTURES / 'v0.1'
SIZE = 50_000
GROWTH = 300  # MB; the pixels of a bomb are 2,500 MB or more


def jpeg(path):
    """A small JPEG file whose header has another size."""
    Image.new('RGB', (16, 16)).save(path, 'JPEG')
    data = path.read_bytes()
    place = data.index(b'\xff\xc0') + 5
    path.write_bytes(data[:place] + struct.pack('>HH', SIZE, SIZE) + data[place + 4 :])


def png(path):
    """A complete PNG file of one bit per pixel, all black."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    packer = zlib.compressobj(1)
    row = bytes(1 + SIZE // 8)
    data = b''.join(packer.compress(row * 100) for _ in range(SIZE // 100)) + packer.flush()
    header = struct.pack('>IIBBBBB', SIZE, SIZE, 1, 0, 0, 0, 0)
    parts = chunk(b'IHDR', header), chunk(b'IDAT', data), chunk(b'IEND', b'')
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + b''.join(parts))


def tiff(path, bands=3):
    """A complete TIFF file without the tiles that are empty."""
    import rasterio

    options = dict(width=SIZE, height=SIZE, count=bands, dtype='uint8', sparse_ok=True, tiled=True)
    with rasterio.open(path, 'w', driver='GTiff', photometric='RGB', compress='deflate', **options):
        pass


def tiff_of_four(path):
    tiff(path, 4)


def array(path):
    """A file with a hole in place of the pixels."""
    np.lib.format.open_memmap(path, 'w+', np.uint8, (SIZE, SIZE, 3))


BOMBS = {'bomb.jpg': jpeg, 'bomb.png': png, 'bomb.tif': tiff, 'four.tif': tiff_of_four}


@pytest.fixture(scope='module')
def bombs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('bombs')
    for name, make in BOMBS.items():
        make(folder / name)
    array(folder / 'bomb.npy')
    assert max(file.stat().st_blocks * 512 for file in folder.iterdir()) < 20e6
    return folder


def peak():
    """Return the largest memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


READERS = dict(
    read_rgb=read_rgb,
    range=lambda path: read_rgb(path, (0, 255)),
    read_pixels=read_pixels,
    three=lambda path: LoadImage().transform(dict(img_path=path)),
    four=lambda path: LoadImage(channels=4).transform(dict(img_path=path)),
    crops=lambda path: LoadRandomResizedCrop(scale=64).transform(dict(img_path=path)),
    crops_of_four=lambda path: LoadRandomResizedCrop(
        scale=64, channels=4, crop_ratio_range=(0.5, 1)
    ).transform(dict(img_path=path)),
)


@pytest.mark.fault(
    'Images of 50,000 x 50,000 pixels in small files: JPEG, PNG, TIFF, arrays',
    'Every reader refuses them with one line, and memory does not grow.',
)
@pytest.mark.parametrize('name', [*BOMBS, 'bomb.npy'])
@pytest.mark.parametrize('reader', READERS)
def test_readers(reader, name, bombs):
    before = peak()
    with pytest.raises((UnreadableImage, ValueError)) as caught:
        READERS[reader](bombs / name)
    assert name in str(caught.value) and '\n' not in str(caught.value)
    assert reader not in ('read_rgb', 'range', 'read_pixels') or not is_readable(bombs / name)
    assert peak() - before < GROWTH


COMMANDS = dict(
    predict=lambda image, out: ['predict', OLD / 'detector_lomar.pth', image, '--out', out],
    tiles=lambda image, out: [
        *('predict', OLD / 'detector_lomar.pth', image, '--out', out, '--tile', '64'),
    ],
    masks=lambda image, out: [
        *('import', 'masks', image.resolve().parent, f'{out}.json', '--images', image.parent),
    ],
    encode=lambda image, out: ['encode', OLD / 'pretrain_lomar.pth', image, '--out', f'{out}.npz'],
    resize=lambda image, out: ['resize', image.parent, out],
    statistics=lambda image, out: ['statistics', image.parent],
)


@pytest.mark.fault(
    'The same images in lomar predict (with --tile, too), import, encode, resize and statistics',
    'The command names the file in one line, and memory does not grow.',
)
@pytest.mark.parametrize(
    ('command', 'name'),
    [
        (command, name)
        for command in COMMANDS
        for name in BOMBS
        if command not in ('statistics', 'tiles') or 'tif' not in name  # they read it in blocks
    ],
)
def test_commands(command, name, bombs, tmp_path, capsys):
    folder = tmp_path / 'images'
    folder.mkdir()
    (folder / name).symlink_to(bombs / name)
    before = peak()
    main([*map(str, COMMANDS[command](folder / name, tmp_path / 'out'))])
    printed = capsys.readouterr()
    assert name in printed.out + printed.err and 'Traceback' not in printed.err
    assert peak() - before < GROWTH


@pytest.mark.fault(
    'Empty, truncated and huge images among those of a pretraining or a detector',
    'A training logs each in one line and takes another image, up to the share that '
    '`UnreadableImagesHook.max_share` allows.',
)
@pytest.mark.parametrize('task', ['pretraining', pytest.param('detection', marks=pytest.mark.long)])
def test_a_training(task, bombs, shapes, tmp_path):
    copy = shutil.copytree(shapes, tmp_path / 'shapes')
    files = sorted((copy / 'train').iterdir())
    files[0].write_bytes(b'')
    files[1].write_bytes(files[1].read_bytes()[:200])
    shutil.copy(bombs / 'bomb.png', files[2])
    share = 'custom_hooks.3.max_share=0.2'
    text = train(words(task, copy, tmp_path / 'run', share, epochs=2))
    found = re.findall(r'Unreadable image replaced: (\S+)', text)
    assert {*found} == {str(file) for file in files[:3]}
    one_line(text, '3 unreadable images were replaced by others')
