"""`lomar shard`: equal bytes every time, whole shards after an interruption, nothing replaced."""

import json
import os
import re
import tarfile
from pathlib import Path

import pytest
import torch
from conftest import tiny_lomar
from processes import run_lomar

from lomar.cli import main
from lomar.cli.shared import image_paths
from lomar.cost.hours import _training_images
from lomar.datasets import list_images, read_rgb, write_shards
from lomar.datasets.write_shards import SUMMARY
from lomar.encoder import Encoder
from lomar.engine import read_config
from lomar.targets.tokenizer_settings import Settings
from lomar.targets.tokenizer_training import draw_patches
from lomar.visualization.output_paths import output_paths


def shard(*words):
    return main(['shard', *map(str, words), '--quiet'])


def contents(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != SUMMARY}


@pytest.fixture
def images(photographs):
    """Eight images in two folders and one in a third, and files that do not count."""
    for number in range(4, 8):
        (photographs / 'deep/er').mkdir(parents=True, exist_ok=True)
        (photographs / f'{number}.jpg').rename(photographs / f'deep/er/{number}.jpg')
    (photographs / 'notes.txt').write_text('no image')
    (photographs / '.hidden.jpg').write_text('no image')
    return photographs


SIZES = {
    '--images-per-shard 3': [3, 3, 2],
    '--images-per-shard 8': [8],
    '--images-per-shard 100': [8],
    '--megabytes 1': [8],
}


@pytest.mark.parametrize('flags', SIZES)
def test_shards_have_the_images_in_order(flags, images, tmp_path, capsys):
    assert shard(images, tmp_path / 'out', *flags.split()) == 0
    found = list_images(tmp_path / 'out')
    files = list_images(images)
    assert [one.member for one in found] == [os.path.relpath(path, images) for path in files]
    counts = [len(list_images(path)) for path in sorted((tmp_path / 'out').glob('*.tar'))]
    assert counts == SIZES[flags]
    for image, path in zip(found, files, strict=True):
        with tarfile.open(image.shard) as tar:
            assert tar.extractfile(image.member).read() == Path(path).read_bytes()
    last = capsys.readouterr().out.splitlines()[-1]
    pattern = last.rpartition(' ')[2].strip("'")
    assert list_images(pattern) == found
    summary = json.loads((tmp_path / 'out' / SUMMARY).read_text())
    assert summary['images'] == 8 and len(summary['shards']) == len(counts)


def test_a_full_shard_is_closed():
    members = [write_shards.Member('', str(i), 1000) for i in range(7)]  # 512 + 1024 bytes each
    parts = write_shards._split(members, None, 3 * 1536)
    assert [len(part) for part in parts] == [3, 3, 1]


def test_equal_files_give_equal_bytes(images, tmp_path):
    assert shard(images, tmp_path / 'a', '--images-per-shard', 3) == 0
    for number, path in enumerate(sorted(images.rglob('*.jpg'))):
        os.utime(path, (number, number))
        path.chmod(0o600)
    assert shard(images, tmp_path / 'b', '--images-per-shard', 3) == 0
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
    assert not [name for name in contents(tmp_path / 'a') if name.startswith('.')]
    with tarfile.open(tmp_path / 'a/000.tar') as tar:
        fields = [(one.mtime, one.uid, one.gid, one.uname, one.gname, one.mode) for one in tar]
    assert set(fields) == {(0, 0, 0, '', '', 0o644)}


def test_an_interrupted_run_is_continued(images, tmp_path, capsys, monkeypatch):
    whole, out = tmp_path / 'whole', tmp_path / 'out'
    assert shard(images, whole, '--images-per-shard', 3) == 0
    write = write_shards._write

    def interrupted(path, members):
        if path.endswith('002.tar'):
            raise KeyboardInterrupt
        write(path, members)

    monkeypatch.setattr(write_shards, '_write', interrupted)
    assert shard(images, out, '--images-per-shard', 3) == 130
    (out / '.002.tar.part').write_text('of a killed process')
    monkeypatch.setattr(write_shards, '_write', write)
    kept = (out / '000.tar').stat().st_ino
    assert shard(images, out, '--images-per-shard', 3) == 0
    assert 'in 3 shards, 2 of them kept' in capsys.readouterr().out
    assert (out / '000.tar').stat().st_ino == kept and contents(out) == contents(whole)


def touch(images, out):
    (out / SUMMARY).unlink()
    os.utime(images / '0.jpg', (2**33, 2**33))


def other_size(images, out):
    (out / SUMMARY).unlink()
    (images / '0.jpg').write_bytes((images / '1.jpg').read_bytes() + b'more')


REFUSED = {
    'finished': (lambda images, out: None, 'has shards already; --overwrite replaces them'),
    'newer image': (touch, r'1 shards that differ from the images or the settings, .*000\.tar'),
    'other image': (other_size, r'1 shards that differ from the images or the settings'),
    'truncated': (
        lambda images, out: ((out / SUMMARY).unlink(), (out / '001.tar').write_bytes(b'')),
        r'1 shards that differ .*001\.tar',
    ),
    'other tars': (
        lambda images, out: ((out / SUMMARY).unlink(), (out / 'mine.tar').write_bytes(b'')),
        r'has 1 tar files that are not of this run, such as .*mine\.tar',
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_what_is_there_is_not_replaced(case, images, tmp_path):
    out = tmp_path / 'out'
    assert shard(images, out, '--images-per-shard', 3) == 0
    change, message = REFUSED[case]
    change(images, out)
    before = contents(out)
    with pytest.raises(ValueError, match=message):
        write_shards.write_shards(images, out, 3)
    assert contents(out) == before
    if case == 'other tars':
        with pytest.raises(ValueError, match=message):
            write_shards.write_shards(images, out, 3, overwrite=True)
    else:
        write_shards.write_shards(images, out, 3, overwrite=True)
        assert len(list_images(out)) == 8


def list_of(*lines):
    def make(images):
        (images / 'deep/list.txt').write_text('\n'.join(lines))
        return images / 'deep/list.txt'

    return make


LISTS = {
    'below the list': (list_of('er/5.jpg', 'er/4.jpg'), ['er/4.jpg', 'er/5.jpg']),
    'anywhere': (list_of('er/5.jpg', '../1.jpg'), ['1.jpg', 'deep/er/5.jpg']),
}


@pytest.mark.parametrize('case', LISTS)
def test_names_of_a_list_are_relative(case, images, tmp_path):
    make, names = LISTS[case]
    assert shard(make(images), tmp_path / 'out') == 0
    assert sorted(image.member for image in list_images(tmp_path / 'out')) == names


def test_unreadable_images_are_left_out_with_check(images, tmp_path, capsys):
    (images / '3.jpg').write_text('no image')
    assert shard(images, tmp_path / 'out', '--check', '--workers', 1) == 0
    assert f'unreadable, left out: {images}/3.jpg: Unidentified' in capsys.readouterr().out
    names = [image.member for image in list_images(tmp_path / 'out')]
    assert len(names) == 7 and '3.jpg' not in names
    assert shard(images, tmp_path / 'all') == 0
    assert len(list_images(tmp_path / 'all')) == 8


def test_names_in_any_encoding(images, tmp_path):
    names = [os.fsdecode(b'\xe4.jpg'), 'ä.jpg', 'long' * 50 + '.jpg', 'with space.jpg']
    for name in names:
        os.link(images / '0.jpg', images / name)
    assert shard(images, tmp_path / 'out') == 0
    found = {image.member for image in list_images(tmp_path / 'out')}
    assert found >= set(names) and len(found) == 12


ERRORS = {
    'twice': (('IN/twice.txt', 'OUT'), r'names 0\.jpg 2 times; allowed: every file once'),
    'no out': (('IN',), 'OUT is missing'),
    'out is a file': (('IN', 'IN/0.jpg'), r'OUT .*0\.jpg is a file; allowed: a folder'),
    'no folder': (('nowhere', 'OUT'), 'nowhere does not exist'),
    'shards': (('tars', 'OUT'), 'images in tar shards; allowed: image files'),
    'index and out': (('tars', 'OUT', '--index'), 'allowed with --index: IN only'),
    'index of images': (('IN', '--index'), 'has image files; allowed with --index: tar files'),
    'index of a URL': (('http://h/a.tar', '--index'), 'indices are written on a disk'),
    'all damaged': (('damaged', 'OUT', '--check', '--workers', 1), 'none of 1 images in damaged'),
}


@pytest.mark.parametrize('case', ERRORS)
def test_errors_are_one_message(case, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (images / 'twice.txt').write_text('0.jpg\n0.jpg\n')
    Path('damaged').mkdir()
    Path('damaged/a.jpg').write_text('no image')
    Path('tars').mkdir()
    with tarfile.open('tars/0.tar', 'w') as tar:
        tar.add(images / '0.jpg', '0.jpg')
    words, message = ERRORS[case]
    words = [str(word).replace('IN', str(images)).replace('OUT', 'out') for word in words]
    assert shard(*words) == 1
    error = capsys.readouterr().err.partition('lomar shard: ')[2]
    assert re.search(message, error), error


def test_indices_of_foreign_tars(images, tmp_path, capsys):
    with tarfile.open(tmp_path / 'foreign.tar', 'w') as tar:
        tar.add(images, 'data')
    assert shard(tmp_path / '*.tar', '--index') == 0
    assert '8 images in 1 shards' in capsys.readouterr().out
    assert (tmp_path / 'foreign.tar.index').exists()


@pytest.mark.slow
def test_the_command_and_those_that_read_shards(images, tmp_path):
    done = run_lomar('shard', images, tmp_path / 'out', '--images-per-shard', 3)
    assert done.returncode == 0, done.stderr
    assert f"--train-images '{tmp_path}/out/{{000..002}}.tar'" in done.stdout
    done = run_lomar('statistics', tmp_path / 'out/{000..002}.tar')
    assert '8 uint8' in done.stdout, done.stderr
    assert run_lomar('statistics', images).stdout.endswith(done.stdout)  # after a line of the log


@pytest.fixture
def tars(images, tmp_path):
    write_shards.write_shards(images, tmp_path / 'tars', 3)
    return tmp_path / 'tars'


def test_commands_take_shards_as_images(images, tars):
    found = image_paths([f'{tars}/{{000..001}}.tar', str(images / '0.jpg'), f'{tars}/002.tar'])
    assert found == [*list_images(tars)[:6], str(images / '0.jpg'), *list_images(tars)[6:]]
    with pytest.raises(FileNotFoundError, match=r'2 of 3 shards do not exist'):
        image_paths([f'{tars}/{{002..004}}.tar'])


def test_pictures_of_images_in_shards(tars):
    pictures = output_paths(list_images(tars), '.png')
    assert pictures[list_images(tars)[4]] == Path('001.tar/deep/er/4.png')
    for image in pictures:
        assert read_rgb(image).size == (56, 40)


def test_an_encoder_reads_shards(images, tars, tmp_path):
    torch.save(tiny_lomar().state_dict(), tmp_path / 'weights.pth')
    encoder = Encoder(tmp_path / 'weights.pth', 'cpu')
    for image, path in zip(list_images(tars), list_images(images), strict=True):
        assert torch.equal(encoder([image]).pooled, encoder([path]).pooled)


def test_a_tokenizer_trains_on_shards(tars):
    settings = Settings(images=f'{tars}/*.tar', out='x.pth', size=32, batch_size=2, workers=0)
    assert next(draw_patches(settings, {})).shape == (2 * 4, 16 * 16 * 3)


def test_epochs_of_shards_are_counted(tars):
    cfg = read_config('lomar_pretrain', {'train_dataloader.dataset.data_root': f'{tars}/*.tar'})
    assert _training_images('x', cfg, None)[0] == 8
