"""Mask files: what their values mean, which mask belongs to which image, and the checks."""

import struct

import numpy as np
import pytest
from mask_data import CLASSES, CONFIG, scene, write_scenes
from PIL import Image

from lomar.cli import main
from lomar.datasets.unreadable import UnreadableImage
from lomar.segmentation import IGNORED, LoadMask, MaskIds, find_pairs, read_ids
from lomar.segmentation.mask_checks import check_pairs, problem_of_classes
from lomar.segmentation.mask_ids import read_classes

IDS = np.array([[0, 1, 2], [3, 2, 1]], np.uint8)
BITS = {1: 1, 2: 3, 4: 15}


def palette(ids):
    image = Image.fromarray(ids, 'P')
    image.putpalette([200, 10, 30, 7, 7, 7, 0, 90, 0, 1, 2, 3])
    return image


def save_png_of_bits(path, ids, bits):
    """Write a grey PNG file of less than 8 bits, which Pillow cannot."""
    import zlib

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', crc)

    height, width = ids.shape
    rows = b''
    for row in ids:
        text = ''.join(f'{value:0{bits}b}' for value in row)
        text += '0' * (-len(text) % 8)
        rows += b'\0' + int(text, 2).to_bytes(len(text) // 8, 'big')
    head = struct.pack('>IIBBBBB', width, height, bits, 0, 0, 0, 0)
    parts = chunk(b'IHDR', head) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b'')
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + parts)


def save_tiff_of_bits(path, ids, bits, photometric=1):
    """Write a grey TIFF file of less than 8 bits, which Pillow cannot."""
    height, width = ids.shape
    rows = [''.join(f'{value:0{bits}b}' for value in row) for row in ids]
    rows = [text.ljust(-(-len(text) // 8) * 8, '0') for text in rows]
    data = b''.join(int(text, 2).to_bytes(len(text) // 8, 'big') for text in rows)
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric)]
    tags += [(273, 8), (277, 1), (278, height), (279, len(data))]
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags)
    head = b'II*\0' + struct.pack('<I', 8 + len(data))
    path.write_bytes(head + data + struct.pack('<H', len(tags)) + entries + bytes(4))


FORMS = {
    'grey.png': lambda path: Image.fromarray(IDS).save(path),
    'palette.png': lambda path: palette(IDS).save(path),
    'deep.png': lambda path: Image.fromarray(IDS.astype(np.uint16)).save(path),
    'equal.png': lambda path: Image.fromarray(np.dstack([IDS] * 3)).save(path),
    'alpha.png': lambda path: Image.fromarray(np.dstack([IDS] * 3 + [IDS + 9])).save(path),
    'two.png': lambda path: save_png_of_bits(path, IDS, 2),
    'four.png': lambda path: save_png_of_bits(path, IDS, 4),
    'two.tif': lambda path: save_tiff_of_bits(path, IDS, 2),
    'four.tif': lambda path: save_tiff_of_bits(path, IDS, 4),
    'grey.tif': lambda path: Image.fromarray(IDS).save(path),
    'deep.tiff': lambda path: Image.fromarray(IDS.astype(np.int32)).save(path),
    'grey.bmp': lambda path: Image.fromarray(IDS).save(path),
}


@pytest.mark.parametrize('name', FORMS)
def test_ids_of_a_file(name, tmp_path):
    FORMS[name](tmp_path / name)
    assert (read_ids(str(tmp_path / name)) == IDS).all()


def test_ids_of_one_bit_and_above_255(tmp_path):
    save_png_of_bits(tmp_path / 'one.png', IDS % 2, 1)
    assert (read_ids(str(tmp_path / 'one.png')) == IDS % 2).all()
    Image.fromarray(IDS.astype(np.uint16) + 60_000).save(tmp_path / 'deep.png')
    assert (read_ids(str(tmp_path / 'deep.png')) == IDS.astype(int) + 60_000).all()


def coloured(path):
    Image.fromarray(scene(0)[0]).save(path)


REFUSED = {
    'colours.png': (coloured, r'has colours or fractions \(RGB\)'),
    'damaged.png': (lambda path: path.write_bytes(b'no image'), 'UnidentifiedImageError'),
    'fractions.tif': (
        lambda path: Image.fromarray(IDS / np.float32(2)).save(path),
        r'has colours or fractions \(F\)',
    ),
    'pages.tif': (
        lambda path: Image.fromarray(IDS).save(
            path, save_all=True, append_images=[Image.fromarray(IDS)]
        ),
        'has 2 pages; allowed: one',
    ),
    'inverted.tif': (lambda path: save_tiff_of_bits(path, IDS, 8, 0), 'with 0 as white'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_files_without_ids_are_refused(name, tmp_path):
    write, message = REFUSED[name]
    write(tmp_path / name)
    with pytest.raises(UnreadableImage, match=message):
        read_ids(str(tmp_path / name))


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_pairs_have_the_same_path_up_to_the_suffix(tmp_path):
    touch(tmp_path, 'i/b.jpg', 'i/a/c.PNG', 'm/b.png', 'm/a/c.tif', 'm/more.png', 'm/.b.png')
    touch(tmp_path, 'i/Thumbs.db', 'm/b.txt')
    found = find_pairs(tmp_path / 'i', tmp_path / 'm')
    names = [tuple(str(tmp_path / part) for part in pair) for pair in (('i/a/c.PNG', 'm/a/c.tif'),)]
    assert found == [*names, (str(tmp_path / 'i/b.jpg'), str(tmp_path / 'm/b.png'))]


def test_pairs_with_suffixes(tmp_path):
    touch(tmp_path, 'i/x_left.png', 'm/x_ids.png', 'm/x_color.png')
    (found,) = find_pairs(tmp_path / 'i', tmp_path / 'm', '_left', '_ids')
    assert found[1].endswith('x_ids.png')


WITHOUT_PAIRS = {
    'no mask': (
        ('i/a.jpg', 'i/b.jpg', 'm/a.png'),
        ValueError,
        r'1 of 2 images .* such as .*b\.jpg',
    ),
    'suffix': (
        ('i/a.jpg', 'm/a_mask.png'),
        ValueError,
        r'there is .*a_mask\.png.*mask_suffix=_mas',
    ),
    'twice': (('i/a.jpg', 'm/a.png', 'm/a.tif'), ValueError, r'a\.png and .*a\.tif have the same'),
    'two images': (('i/a.jpg', 'i/a.png', 'm/a.png'), ValueError, 'have the same path'),
    'no images': (('i/a.txt', 'm/a.png'), FileNotFoundError, 'no images in'),
    'lossy masks': (('i/a.jpg', 'm/a.jpg'), FileNotFoundError, r'no masks in .*JPEG and WebP'),
    'no folder': (('i/a.jpg',), FileNotFoundError, r'the folder of masks, .*m, does not exist'),
}


@pytest.mark.parametrize('case', WITHOUT_PAIRS)
def test_missing_pairs_are_named(case, tmp_path):
    names, kind, message = WITHOUT_PAIRS[case]
    touch(tmp_path, *names)
    with pytest.raises(kind, match=f'(?s)Masks: .*{message}'):
        find_pairs(tmp_path / 'i', tmp_path / 'm')


def test_labels_of_ids():
    table = MaskIds(CLASSES).labels()
    assert table[[0, 1, 2, 3, 255]].tolist() == [0, 1, 2, -1, IGNORED]
    zero = MaskIds(CLASSES, 9, True).labels()  # as ADE20K
    assert zero[[0, 1, 3, 4, 9, 255]].tolist() == [IGNORED, 0, 2, -1, IGNORED, -1]
    # The model has another order and more classes.
    table = MaskIds(('square', 'ground')).labels(CLASSES)
    assert table[[0, 1, 2]].tolist() == [1, 0, -1]
    with pytest.raises(ValueError, match="not trained for, such as \\['sky'\\]"):
        MaskIds(('sky', 'square')).labels(CLASSES)


WRONG_IDS = {
    'no names': (dict(classes=()), r'have no names; .*--classes background'),
    'twice': (dict(classes=('a', 'a')), '2 classes, 1 of them different'),
    'many': (dict(classes=tuple(map(str, range(256)))), '2 to 255'),
    'one': (dict(classes=('a',)), 'that of the background, too'),
    'ignored class': (dict(classes=('a', 'b'), ignore_index=1), "id of the class 'b'"),
    'negative': (
        dict(classes=('a', 'b'), ignore_index=-1),
        r'ignore_index is -1; allowed: 0 to 65535',
    ),
}


@pytest.mark.parametrize('case', WRONG_IDS)
def test_meanings_that_cannot_be(case):
    settings, message = WRONG_IDS[case]
    with pytest.raises(ValueError, match=message):
        MaskIds(**settings)


def test_class_names_of_a_file(tmp_path):
    file = tmp_path / 'names.txt'
    file.write_text('\ufeffroad surface\n car \n\n', encoding='utf-8')
    assert read_classes([str(file)]) == ['road surface', 'car']
    assert read_classes(['road', 'car']) == ['road', 'car'] and read_classes(None) is None
    file.write_text('road\n\ncar\n')
    with pytest.raises(ValueError, match='has an empty line'):
        read_classes([str(file)])


@pytest.fixture
def pair(tmp_path):
    image, mask = scene(1)
    paths = str(tmp_path / 'a.png'), str(tmp_path / 'mask.png')
    for path, pixels in zip(paths, (image, mask), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def test_a_check_counts_pixels(pair):
    report = check_pairs([pair], MaskIds(CLASSES), CLASSES)
    report.stop_on_errors()
    mask = scene(1)[1]
    assert report.pixels[:4].tolist() == [*np.bincount(mask.ravel(), minlength=3), 0]
    assert problem_of_classes(report, CLASSES) == ('', False)
    text, nothing = problem_of_classes(report, (*CLASSES, 'sky'))
    assert "1 classes, such as ['sky']" in text and not nothing


def test_a_mask_of_0_and_255_has_nothing_to_learn(pair):
    Image.fromarray(np.where(scene(1)[1] > 0, 255, 0).astype(np.uint8)).save(pair[1])
    report = check_pairs([pair], MaskIds(('ground', 'thing')), ('ground', 'thing'))
    text, nothing = problem_of_classes(report, ('ground', 'thing'))
    assert nothing and 'of the pixels are ignored' in text


def test_errors_name_the_mask(pair, tmp_path):
    Image.fromarray(scene(1)[1][:-1]).save(tmp_path / 'short.png')
    Image.fromarray(scene(1)[1] + 7).save(tmp_path / 'ids.png')
    coloured(tmp_path / 'colours.png')
    pairs = [(pair[0], str(tmp_path / name)) for name in ('short.png', 'ids.png', 'colours.png')]
    with pytest.raises(ValueError) as error:
        check_pairs(pairs * 4, MaskIds(CLASSES), CLASSES).stop_on_errors()
    text = str(error.value)
    assert 'short.png: has another size than its image: ' in text and '(upright)' in text
    assert 'ids.png: has ids that no class has: [7, 8, 9]; allowed: 0 to 2 and 255 (ign' in text
    assert 'colours.png: cannot be read as a mask: ValueError: has colours' in text
    assert text.count('and 1 more: ') == 3


def test_the_size_is_that_of_the_upright_image(tmp_path):
    image, mask = scene(2)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(image).save(tmp_path / 'a.jpg', exif=exif)
    for name, pixels in (('turned.png', np.rot90(mask, -1)), ('as_stored.png', mask)):
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / name)
    found = [
        check_pairs([(str(tmp_path / 'a.jpg'), str(tmp_path / name))], MaskIds(CLASSES), CLASSES)
        for name in ('turned.png', 'as_stored.png')
    ]
    assert [bool(report.errors) for report in found] == [False, True]


def test_a_mask_that_changed_after_the_check_is_refused(pair):
    sample = dict(seg_map_path=pair[1], ori_shape=scene(1)[1].shape)
    loaded = LoadMask()(dict(sample, label_of_id=MaskIds(CLASSES).labels()))
    assert (loaded['gt_seg_map'] == scene(1)[1]).all()
    with pytest.raises(UnreadableImage, match='has the id 2, which no class has'):
        LoadMask()(dict(sample, label_of_id=MaskIds(('a', 'b')).labels()))
    with pytest.raises(UnreadableImage, match='the image has'):
        LoadMask()(dict(sample, label_of_id=MaskIds(CLASSES).labels(), ori_shape=(1, 1)))


def test_a_missing_package_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr('lomar.compat.find_spec', lambda name: None if name == 'mmseg' else name)
    write_scenes(tmp_path)
    assert main(['train', CONFIG]) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert "segmentation needs mmseg: pip install 'lomar-openmmlab[segment]'" in error
