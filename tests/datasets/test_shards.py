"""Images in tar shards: the same pixels, names and errors as files, from tar files of any kind."""

import io
import os
import pickle
import re
import tarfile
from copy import deepcopy
from multiprocessing import get_context

import numpy as np
import pytest
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader

from lomar.cli import _message_of_worker
from lomar.datasets import UnlabelledImages, byte_ranges, list_images, read_pixels, read_rgb
from lomar.datasets.color import largest_of_16_bits
from lomar.datasets.fingerprint import dataset_fingerprint
from lomar.datasets.replay import ReplaySampler, seed_everything
from lomar.datasets.shard_images import ShardImage
from lomar.datasets.shards import expand_braces, list_shards

RNG = np.random.default_rng(0)
SIDE = 40


def pixels(*channels, dtype=np.uint8, high=256):
    return RNG.integers(0, high, (SIDE, SIDE + 8, *channels)).astype(dtype)


def with_pillow(kind, *channels, mode=None, **options):
    def write(path):
        image = Image.fromarray(pixels(*channels))
        (image.convert(mode) if mode else image).save(path, kind, **options)

    return write


def raster(bands, dtype):
    def write(path):
        import rasterio

        shape = dict(count=bands, height=SIDE, width=SIDE + 8, dtype=dtype)
        with rasterio.open(path, 'w', driver='GTiff', **shape) as file:
            file.write(pixels(bands, dtype=dtype).transpose(2, 0, 1))

    return write


def pages(path):
    images = [Image.fromarray(pixels()) for _ in range(11)]
    images[0].save(path, save_all=True, append_images=images[1:])


def deep_png(path):
    import cv2

    path.write_bytes(cv2.imencode('.png', pixels(3, dtype=np.uint16, high=65536))[1].tobytes())


def cut(path):
    Image.fromarray(pixels(3)).save(path)
    path.write_bytes(path.read_bytes()[:-400])


def turned():
    exif = Image.Exif()
    exif[274] = 6
    return exif


FILES = {
    'rgb.jpg': with_pillow('JPEG', 3, quality=95),
    'grey.jpg': with_pillow('JPEG'),
    'cmyk.jpg': with_pillow('JPEG', 3, mode='CMYK'),
    'turned.jpg': with_pillow('JPEG', 3, exif=turned()),
    'alpha.png': with_pillow('PNG', 4),
    'deep.png': deep_png,
    'grey16.png': lambda path: Image.fromarray(pixels(dtype=np.uint16, high=3000)).save(path),
    'image.webp': with_pillow('WebP', 3),
    'image.bmp': with_pillow('BMP', 3),
    'rgb.tif': with_pillow('TIFF', 3),
    'lzw.tif': with_pillow('TIFF', 3, compression='tiff_lzw'),
    'float.tif': raster(1, 'float32'),
    'bands.tif': raster(5, 'uint16'),
    'pages.tif': pages,
    'array.npy': lambda path: np.save(path, pixels(5, dtype=np.float32)),
    'grey.npy': lambda path: np.save(path, pixels(dtype=np.int16)),
    'cut.jpg': cut,
    'cut.png': cut,
    'cut.tif': cut,
    'text.jpg': lambda path: path.write_text('no image'),
    'empty.png': lambda path: path.write_bytes(b''),
    'objects.npy': lambda path: np.save(path, np.array([{}]), allow_pickle=True),
}
READERS = {
    'read_rgb': read_rgb,
    'value_range': lambda path: read_rgb(path, [0, 3000]),
    'read_pixels': read_pixels,
    'one channel': lambda path: read_pixels(path, 1),
    'largest': largest_of_16_bits,
}
LOADERS = (
    dict(type='LoadImage'),
    dict(type='LoadImage', channels=5),
    dict(type='LoadRandomResizedCrop', scale=24),
    dict(type='LoadRandomResizedCrop', scale=6),  # JPEG files are decoded at a smaller size
    dict(type='LoadRandomResizedCrop', scale=24, channels=5),
    dict(type='LoadRandomResizedCrop', scale=24, value_range=[0, 3000]),
    dict(type='LoadWindows', size=8, number=2),
    dict(type='LoadWindows', size=8, number=2, channels=5),
    dict(type='LoadWindows', size=8, number=2, scale=32, patch_size=8),
    dict(type='LoadNative', patch_size=8, min_grid=2),
)


def pack(path, *names, folder=None, format=tarfile.PAX_FORMAT):
    """Write a tar file of the files of a folder, or of names that are their own content."""
    with tarfile.open(path, 'w', format=format) as tar:
        for name in names:
            if folder:
                tar.add(folder / name, name)
            else:
                add(tar, name)
    return path


def add(tar, name, content=None, **fields):
    info = tarfile.TarInfo(name)
    content = name.encode(errors='surrogateescape') if content is None else content
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """The files of `FILES` in a folder, and the same in a shard."""
    folder = tmp_path_factory.mktemp('files')
    for name, write in FILES.items():
        write(folder / name)
    shard = pack(folder.with_suffix('.tar'), *sorted(FILES), folder=folder)
    images = {image.member: image for image in list_images(shard, arrays=True)}
    assert sorted(images) == sorted(FILES)
    return {name: (str(folder / name), images[name]) for name in FILES}


def place(image):
    return image.shard, image.member, image.offset, image.size


def outcome(read, path):
    """Return pixels or other results of reading, or the error without the path."""
    seed_everything((1, 2, 3))
    try:
        found = read(path)
    except (OSError, ValueError) as error:
        text = str(error).replace(path, 'PATH')
        text = text.replace('image.tif', 'NAME').replace(os.path.basename(path), 'NAME')
        return type(error), 'of objects' if 'bject' in text else text  # NumPy has two messages
    if isinstance(found, dict):
        return {
            key: np.asarray(value).tolist() for key, value in found.items() if key != 'img_path'
        }
    return (np.asarray(found).dtype.name, np.asarray(found).tolist())


@pytest.mark.parametrize('reader', READERS)
@pytest.mark.parametrize('name', FILES)
def test_readers_return_the_same_from_a_shard(name, reader, files):
    file, image = files[name]
    assert outcome(READERS[reader], image) == outcome(READERS[reader], file)


@pytest.mark.parametrize('settings', LOADERS, ids=lambda node: '-'.join(map(str, node.values())))
def test_loaders_return_the_same_from_a_shard(settings, files):
    read = 0
    for file, image in files.values():
        load = [TRANSFORMS.build(settings) for _ in range(2)]
        found, expected = (
            outcome(lambda path, load=each: load.transform(dict(img_path=path)), path)
            for each, path in zip(load, (image, file), strict=True)
        )
        assert found == expected, file
        read += isinstance(found, dict)
    assert read >= 2


def test_an_image_is_read_once(files, monkeypatch):
    ranges = []
    read = byte_ranges.read_range
    monkeypatch.setattr(
        'lomar.datasets.shard_images.read_range',
        lambda *place: ranges.append(place) or read(*place),
    )
    for name in ('rgb.jpg', 'deep.png', 'text.jpg', 'array.npy', 'bands.tif'):
        image = files[name][1]
        outcome(lambda path: read_rgb(path, [0, 9]), image)
        load = TRANSFORMS.build(dict(type='LoadRandomResizedCrop', scale=24, value_range=[0, 9]))
        outcome(lambda path, load=load: load.transform(dict(img_path=path)), image)
        assert ranges == [(image.shard, image.offset, image.size)] * 2
        ranges.clear()


def test_a_path_keeps_its_place(files):
    image = files['rgb.jpg'][1]
    assert image == f'{image.shard}/rgb.jpg' and image.endswith('.tar/rgb.jpg')
    for copied in (pickle.loads(pickle.dumps(image)), deepcopy(image), str(image)):
        assert type(copied) is ShardImage and place(copied) == place(image) and copied == image


LONG = 'folder/' * 30 + 'a.jpg'
ODD = {
    'long names, GNU': (dict(format=tarfile.GNU_FORMAT), [LONG]),
    'long names, pax': (dict(format=tarfile.PAX_FORMAT), [LONG]),
    'long names, ustar': (dict(format=tarfile.USTAR_FORMAT), [LONG]),
    'other encodings': (dict(format=tarfile.GNU_FORMAT), ['\udce4.jpg', 'ä.jpg']),
    'other encodings, pax': (dict(format=tarfile.PAX_FORMAT), ['\udce4.jpg', 'ä.jpg', 'x.jpg']),
    'dot': ({}, ['./a.jpg', './b/c.JPG']),
    'absolute and above': ({}, ['/etc/a.jpg', '../../b.jpg', 'c/../d.jpg']),
    'order of the tar': ({}, ['b.jpg', 'a.jpg']),
    'backslash and newline': ({}, ['a\\b.jpg', 'a\nb.jpg']),
}


@pytest.mark.parametrize('case', ODD)
def test_names_are_only_names(case, tmp_path):
    options, names = ODD[case]
    shard = pack(tmp_path / 'x.tar', *names, **options)
    for _ in range(2):  # from the headers, then from the index
        images = list_images(shard)
        assert [image.member for image in images] == names
        assert [byte_ranges.read_range(i.shard, i.offset, i.size) for i in images] == [
            name.encode(errors='surrogateescape') for name in names
        ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ['x.tar', 'x.tar.index']


def test_only_images_count(tmp_path, caplog):
    names = ['a.jpg', 'a.json', 'b.npy', '.c.jpg', '__MACOSX/d.jpg', 'e']
    with tarfile.open(tmp_path / 'x.tar', 'w') as tar:
        for name in names:
            add(tar, name)
        add(tar, 'folder', b'', type=tarfile.DIRTYPE)
        add(tar, 'link.jpg', b'', type=tarfile.SYMTYPE, linkname='/etc/passwd')
        add(tar, 'hard.jpg', b'', type=tarfile.LNKTYPE, linkname='a.jpg')
        add(tar, 'pipe.jpg', b'', type=tarfile.FIFOTYPE)
    pack(tmp_path / 'y.tar')
    for _ in range(2):
        caplog.clear()
        assert [image.member for image in list_images(tmp_path)] == ['a.jpg']
        assert [image.member for image in list_images(tmp_path, arrays=True)] == ['a.jpg', 'b.npy']
    from lomar.datasets.shards import shard_images

    _, left_out = shard_images(list_shards(tmp_path / '*.tar'))
    assert {reason: len(paths) for reason, paths in left_out.items()} == {
        'a link': 2,
        'no regular file': 1,
        'a file .json': 1,
        'a file .npy': 1,
        'hidden or of a system': 2,
        'a file without suffix': 1,
        'a shard without images': 1,
    }


def cut_off(path, number):
    content = path.read_bytes()
    path.write_bytes(content[:number])


def joined(path):
    path.write_bytes(path.read_bytes() * 2)


def spoiled(path):
    path.with_name('x.tar.index').unlink()
    content = bytearray(path.read_bytes())
    content[1024:1034] = b'0123456789'
    path.write_bytes(content)


def twice(path):
    pack(path, 'a.jpg', 'b.jpg', 'a.jpg')


def sparse(path):
    with tarfile.open(path, 'w', format=tarfile.PAX_FORMAT) as tar:
        headers = {'GNU.sparse.major': '1', 'GNU.sparse.minor': '0'}
        headers |= {'GNU.sparse.name': 'a.jpg', 'GNU.sparse.realsize': '4096'}
        content = b'1\n0\n4\n'.ljust(512, b'\0') + b'data'
        add(tar, 'GNUSparseFile.0/a.jpg', content, pax_headers=headers)


def zipped(kind):
    def write(path):
        with tarfile.open(path, f'w:{kind}') as tar:
            add(tar, 'a.jpg')

    return write


BROKEN = {
    'cut in an image': (lambda path: cut_off(path, 1600), 'no tar file: unexpected end of data'),
    'cut in a header': (lambda path: cut_off(path, 1500), 'at byte 1024 of 1500, after 1 files'),
    'cut before the end': (lambda path: cut_off(path, 3072), 'at byte 3072 of 3072, after 3 files'),
    'spoiled header': (spoiled, 'is truncated or damaged at byte 1024'),
    'joined': (joined, 'has data after the end of the tar file, at byte 3072'),
    'repeated': (twice, r'1 names of members are repeated, such as a\.jpg \(2 times\)'),
    'sparse': (sparse, r'a\.jpg is a sparse member'),
    'empty file': (lambda path: path.write_bytes(b''), 'has 0 bytes and is empty or truncated'),
    'text': (lambda path: path.write_text('a text\n' * 200), 'is damaged, truncated or no tar'),
    'gzip': (zipped('gz'), 'is compressed by gzip.* decompress it with gunzip'),
    'xz': (zipped('xz'), 'is compressed by xz'),
    'bzip2': (zipped('bz2'), 'is compressed by bzip2'),
    'no members': (lambda path: pack(path), r'there are none in .*a shard without images'),
    'no images': (lambda path: pack(path, 'a.txt'), r'there are none in .*a file \.txt'),
}


@pytest.mark.parametrize('case', BROKEN)
def test_broken_shards_are_refused(case, tmp_path):
    shard = pack(tmp_path / 'x.tar', 'a.jpg', 'b.jpg', 'c.jpg')
    list_images(shard)
    spoil, message = BROKEN[case]
    spoil(shard)
    with pytest.raises((ValueError, OSError), match=rf'(?s)x\.tar.*{message}|{message}.*x\.tar'):
        list_images(shard)


@pytest.mark.parametrize(
    'spoil',
    (
        lambda path: path.unlink(),
        lambda path: path.write_text('{'),
        lambda path: path.write_text(path.read_text().replace('"size":', '"size":1')),
        lambda path: path.write_text(path.read_text().replace('"version":1', '"version":9')),
        lambda path: path.write_text(path.read_text().replace('c.jpg', 'd.jpg')),
        lambda path: path.write_text(path.read_text().replace('"files":[', '"files":[["e",-9,5],')),
        lambda path: path.write_bytes(b'\xff'),
    ),
)
def test_an_index_that_does_not_fit_is_made_again(spoil, tmp_path):
    shard, index = pack(tmp_path / 'x.tar', 'a.jpg', 'b.jpg', 'c.jpg'), tmp_path / 'x.tar.index'
    images, text = list_images(shard), index.read_text()
    spoil(index)
    again = list_images(shard)
    assert again == images and [*map(place, again)] == [*map(place, images)]
    assert index.read_text() == text


def test_an_index_that_fits_is_used(tmp_path, monkeypatch):
    shard = pack(tmp_path / 'x.tar', 'a.jpg')
    images = list_images(shard)
    monkeypatch.setattr(tarfile, 'open', None)
    assert list_images(shard) == images


def test_a_folder_that_cannot_be_written_has_no_index(tmp_path, monkeypatch):
    shard = pack(tmp_path / 'x.tar', 'a.jpg')

    def refuse(*_, **__):
        raise PermissionError('read-only')

    monkeypatch.setattr('pathlib.Path.write_text', refuse)
    assert len(list_images(shard)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ['x.tar']


PATTERNS = {
    '{000..003}.tar': ['000.tar', '001.tar', '002.tar', '003.tar'],
    '{8..11}.tar': ['8.tar', '9.tar', '10.tar', '11.tar'],
    '{08..10}.tar': ['08.tar', '09.tar', '10.tar'],
    'a{0..1}b{x,y}.tar': ['a0bx.tar', 'a0by.tar', 'a1bx.tar', 'a1by.tar'],
    '{b.tar,a.tar}': ['b.tar', 'a.tar'],
    'a.tar': ['a.tar'],
    's3://bucket/{0..1}.tar': ['s3://bucket/0.tar', 's3://bucket/1.tar'],
}


@pytest.mark.parametrize('pattern', PATTERNS)
def test_braces_are_expanded(pattern):
    assert expand_braces(pattern) == PATTERNS[pattern]


WRONG = {
    '{3..1}.tar': r'\{3\.\.1\} has 0 numbers',
    '{0..99999999}.tar': 'has 100000000 numbers',
    '{0..9999}{0..9999}.tar': 'stands for 100000000 shards',
    '{0..1.tar': 'braces are nested or not closed',
    '{a{0..1}}.tar': 'braces are nested or not closed',
    '{a}.tar': r'\{a\} is no range',
    '{-1..1}.tar': 'is no range',
    'http://127.0.0.1/*.tar': 'an HTTP server cannot list files',
    '{000..004}.tar': '3 of 5 shards do not exist:\n.*002.tar\n.*003.tar\n.*004.tar',
    'z*.tar': 'no file has such a name',
    'none.tar': '1 of 1 shards do not exist',
    'none.tar.gz': '1 of 1 shards do not exist',
}


@pytest.mark.parametrize('pattern', WRONG)
def test_wrong_patterns_are_named(pattern, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('000.tar', '001.tar'):
        pack(tmp_path / name, 'a.jpg')
    with pytest.raises((ValueError, FileNotFoundError), match=WRONG[pattern]):
        list_images(pattern)


def test_places_of_shards(tmp_path, monkeypatch):
    """A folder, a pattern, one file, `~`, and names with special characters."""
    folder = tmp_path / 'a[1]{b}'
    folder.mkdir()
    for number in range(3):
        pack(folder / f'{number}.tar', f'{number}.jpg')
    monkeypatch.setenv('HOME', str(tmp_path))
    members = ['0.jpg', '1.jpg', '2.jpg']
    assert [image.member for image in list_images(folder)] == members
    assert [image.member for image in list_images(folder / '1.tar')] == ['1.jpg']
    (tmp_path / 'plain').symlink_to(folder)
    for pattern in ('~/plain/{0..2}.tar', '~/plain/*.tar', '~/plain/?.tar', f'{tmp_path}/*/?.tar'):
        assert [image.member for image in list_images(pattern)][:3] == members


def test_images_of_a_folder_precede_its_shards(photographs):
    pack(photographs / 'x.tar', 'a.jpg')
    assert len(list_images(photographs)) == 8


def test_a_list_of_shards_is_refused(tmp_path):
    pack(tmp_path / 'x.tar', 'a.jpg')
    (tmp_path / 'list.txt').write_text('x.tar\n')
    with pytest.raises(ValueError, match=r'line 1: x\.tar\nGive shards by a pattern'):
        list_images(tmp_path / 'list.txt')


def dataset(root, **settings):
    crop = dict(type='LoadRandomResizedCrop', scale=24)
    return UnlabelledImages(str(root), [crop, dict(type='mmpretrain.PackInputs')], **settings)


@pytest.fixture
def shards(photographs, tmp_path):
    folder = tmp_path / 'shards'
    folder.mkdir()
    names = sorted(path.name for path in photographs.iterdir())
    for number in range(2):
        pack(folder / f'{number}.tar', *names[4 * number : 4 * number + 4], folder=photographs)
    return folder


def draws(root, workers):
    data = dataset(root)
    loader = DataLoader(
        data,
        batch_size=3,
        sampler=ReplaySampler(data, seed=5),
        num_workers=workers,
        collate_fn=list,
    )
    return [sample['inputs'].tolist() for batch in loader for sample in batch]


@pytest.mark.parametrize('workers', (0, 2))
def test_workers_draw_the_same_as_from_files(workers, photographs, shards):
    read_rgb(list_images(shards)[0])  # a file that is open is inherited by a fork
    assert draws(shards, workers) == draws(photographs, 0)


def test_few_files_are_open(shards, tmp_path, monkeypatch):
    limit = 2
    monkeypatch.setattr(
        byte_ranges, '_handle', byte_ranges.lru_cache(maxsize=limit)(byte_ranges._Handle)
    )
    before = len(os.listdir('/proc/self/fd'))
    for number in range(9):
        pack(tmp_path / f'{number}.tar', f'{number}.jpg')
    images = list_images(tmp_path / '{0..8}.tar')
    assert len(os.listdir('/proc/self/fd')) == before, 'none is open before an image is read'
    for image in images:
        byte_ranges.read_range(image.shard, image.offset, image.size)
    assert len(os.listdir('/proc/self/fd')) == before + limit


def test_the_fingerprint_is_that_of_the_files(photographs, shards):
    assert dataset_fingerprint(dataset(shards)) == dataset_fingerprint(dataset(photographs))
    (photographs / '7.jpg').write_bytes(b'other size')
    assert dataset_fingerprint(dataset(shards)) != dataset_fingerprint(dataset(photographs))


def test_an_unreadable_image_is_replaced_and_named(photographs, tmp_path):
    (photographs / '3.jpg').write_text('no image')
    shard = pack(tmp_path / 'x.tar', '3.jpg', '4.jpg', folder=photographs)
    sample = dataset(shard)[0]
    assert list(sample['data_samples'].unreadable) == [f'{shard}/3.jpg']
    with pytest.raises(OSError, match=r'(?s)1 of 2 images.*x\.tar/3\.jpg: UnidentifiedImage'):
        UnlabelledImages(str(shard), [dict(type='LoadImage')], test_mode=True)


def test_a_shard_that_shrinks_stops_the_run(shards):
    """A replaced image would make another training than an uninterrupted one."""
    data = dataset(shards)
    cut_off(shards / '1.tar', 700)
    with pytest.raises(OSError, match=r'1\.tar ends at byte \d+, .* truncated or replaced'):
        data[4]


def test_a_missing_shard_stops_the_run(shards):
    data = dataset(shards)
    (shards / '1.tar').unlink()
    byte_ranges.forget_handles()
    with pytest.raises(FileNotFoundError, match=r'1\.tar'):
        data[4]


REMOVED = {
    'removed': (lambda path: path.unlink(), r'^\[Errno 2\] No such file or directory: .*1\.tar'),
    'cut': (lambda path: cut_off(path, 700), r'^/.*1\.tar ends at byte \d+'),
}


@pytest.mark.parametrize('case', REMOVED)
def test_an_error_of_a_worker_is_one_line(case, shards):
    data = dataset(shards)
    byte_ranges.forget_handles()
    spoil, message = REMOVED[case]
    spoil(shards / '1.tar')
    loader = DataLoader(data, sampler=[4], num_workers=1, collate_fn=list)
    with pytest.raises(OSError) as error:
        list(loader)
    assert re.search(message, _message_of_worker(str(error.value)))


def test_commands_that_need_files_refuse_shards(shards, tmp_path):
    from lomar.datasets.resize_folder import resize_images

    with pytest.raises(ValueError, match='images in tar shards; allowed: image files'):
        resize_images(shards, tmp_path / 'out', 20)


def _opened(image):
    return byte_ranges.read_range(image.shard, image.offset, 4).hex()


def test_a_forked_process_reads_an_inherited_file(shards):
    image = list_images(shards)[0]
    here = _opened(image)
    with get_context('fork').Pool(2) as pool:
        assert pool.map(_opened, [image] * 8) == [here] * 8
