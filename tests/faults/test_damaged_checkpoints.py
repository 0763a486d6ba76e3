"""Damaged checkpoints: one line, the older checkpoint by name, and no flipped bit is overlooked."""

import random
import shutil
from io import BytesIO
from zipfile import ZipFile

import pytest
import torch
from conftest import FIXTURES
from trainings import one_line, train, words

from lomar.checkpoints import load_file

KINDS = dict(
    truncated=lambda data: data[: len(data) // 2],
    empty=lambda data: b'',
    zeros=lambda data: bytes(len(data)),
    flipped=lambda data: flipped(data, 8 * middle_of_weights(data)),
)


def middle_of_weights(data):
    """Return a place in the largest entry; between entries are bytes without a meaning."""
    largest = max(ZipFile(BytesIO(data)).infolist(), key=lambda entry: entry.file_size)
    assert largest.file_size > 1000  # more than its header
    return largest.header_offset + largest.file_size // 2 + 250


def flipped(data, bit):
    data = bytearray(data)
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory):
    """A work dir with `epoch_1.pth` and `epoch_2.pth`, and the arguments to go on."""
    folder = tmp_path_factory.mktemp('damaged')
    train(words('pretraining', shapes, folder / 'run', epochs=2))
    return folder


@pytest.mark.fault(
    'The newest checkpoint is truncated, empty, full of zeros, has a flipped bit, or is of another '
    'model',
    '`--resume` stops with exit code 1 and one line. The line names the older checkpoint, which is '
    'used only if you give its name.',
)
@pytest.mark.parametrize('kind', [*KINDS, 'swapped'])
def test_resuming(kind, trained, shapes, tmp_path):
    work = shutil.copytree(trained / 'run', tmp_path / 'run')
    file = work / 'epoch_2.pth'
    if kind == 'swapped':
        shutil.copy(FIXTURES / 'v0.1/detector_mae.pth', file)
    else:
        file.write_bytes(KINDS[kind](file.read_bytes()))
    text = train(words('pretraining', shapes, work, flags=['--resume'], epochs=2), code=1)
    if kind == 'swapped':
        assert '--resume' in text and str(file) in text and 'Traceback' not in text
    else:
        older = f'--resume {work / "epoch_1.pth"} continues from an older checkpoint'
        one_line(text, 'lomar train: --resume: ', str(file), older)


@pytest.mark.fault(
    'A bit of a checkpoint is flipped, at 200 random places and at 200 of the table of contents',
    'Reading raises one error, or the content is the same to the bit.',
)
def test_no_flipped_bit_is_overlooked(trained, tmp_path, record_property):
    data = (trained / 'run/epoch_2.pth').read_bytes()
    whole, refused = load_file(trained / 'run/epoch_2.pth'), 0
    places, last = random.Random(0), 8 * len(data)
    table = 8 * data.index(b'PK\1\2')
    for begin in [0] * 200 + [table] * 200:
        bit = places.randrange(begin, last)
        (tmp_path / 'file.pth').write_bytes(flipped(data, bit))
        try:
            content = load_file(tmp_path / 'file.pth')
        except ValueError as error:
            assert 'file.pth' in str(error)
            refused += 1
            continue
        for key in ('state_dict', 'optimizer'):
            torch.testing.assert_close(content[key], whole[key], atol=0, rtol=0)
        assert content['meta'] == whole['meta']
    assert refused > 50
    record_property('times', 400)


@pytest.mark.fault(
    'An entry of a checkpoint has the attribute of a folder, by one flipped bit',
    'Reading raises an error. PyTorch would leave the weights uninitialized.',
)
def test_an_entry_that_looks_like_a_folder(trained, tmp_path):
    data = bytearray((trained / 'run/epoch_2.pth').read_bytes())
    data[data.index(b'PK\1\2', data.index(b'PK\1\2') + 1) + 38] ^= 0x10
    (tmp_path / 'file.pth').write_bytes(data)
    with pytest.raises(ValueError, match=r'file\.pth is damaged'):
        load_file(tmp_path / 'file.pth')
