"""Orientations of EXIF and XMP: upright pixels and sizes, also for odd and damaged values."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from lomar.datasets.color import to_rgb
from lomar.datasets.image_io import read_rgb
from lomar.datasets.random_resized_crop import read_resized
from lomar.datasets.upright_size import upright_size

PIXELS = (np.arange(48 * 64) % 251).reshape(48, 64)
TURNED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}
EXIF, XMP = b'Exif\0\0', b'http://ns.adobe.com/xap/1.0/\0'


def exif(*entries):
    """Return an EXIF block of entries: tag, type, count and value of four bytes."""
    packed = b''.join(
        struct.pack('<HHI', *entry[:3]) + entry[3].ljust(4, b'\0') for entry in entries
    )
    return EXIF + b'II*\0' + struct.pack('<IH', 8, len(entries)) + packed + b'\0\0\0\0'


SIDE = (274, 3, 1, b'\6')  # orientation 6
BLOCKS = {  # block, and whether the image lies on a side
    'orientation alone': (exif(SIDE), True),
    'unit as text': (exif(SIDE, (296, 2, 1, b'2')), True),
    'resolution as text': (exif(SIDE, (282, 2, 2, b'72')), True),
    'in XMP': (XMP + b'<x:xmpmeta tiff:Orientation="6"/>', True),
    'no number in XMP': (XMP + b'<x:xmpmeta tiff:Orientation="x"/>', False),
    'orientation as text': (exif((274, 2, 1, b'6')), False),
    'orientation 9': (exif((274, 3, 1, b'\x09')), False),
    'no EXIF': (EXIF + b'something else', False),
    'truncated': (exif(SIDE)[:16], False),
}


@pytest.mark.parametrize('name', BLOCKS)
def test_odd_blocks_of_a_photograph(name, tmp_path):
    block, on_side = BLOCKS[name]
    jpeg = io.BytesIO()
    Image.fromarray(PIXELS.astype(np.uint8)).save(jpeg, 'jpeg')
    data, path = jpeg.getvalue(), tmp_path / 'a.jpg'
    path.write_bytes(data[:2] + b'\xff\xe1' + struct.pack('>H', len(block) + 2) + block + data[2:])
    size = (48, 64) if on_side else (64, 48)
    assert read_rgb(path).size == size
    assert upright_size(path) == (size, on_side)
    crop = read_resized(path, lambda width, height: ((0, 0, height, width), (8, 8)))
    assert crop[1] == size[::-1]


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'I;16', 'RGB', 'RGBA', 'CMYK'])
@pytest.mark.parametrize('compression', ['raw', 'tiff_lzw'])
def test_turned_tiff_files(mode, compression, tmp_path):
    image = Image.fromarray(PIXELS.astype(np.uint16 if mode == 'I;16' else np.uint8))
    image = image if image.mode == mode else image.convert(mode)
    plain = np.asarray(to_rgb(image))
    for orientation, turned in TURNED.items():
        path = tmp_path / f'{orientation}.tif'
        image.save(path, tiffinfo={274: orientation}, compression=compression)
        pixels = np.asarray(read_rgb(path))
        np.testing.assert_array_equal(pixels, turned(plain))
        assert upright_size(path) == (pixels.shape[1::-1], orientation > 4)
