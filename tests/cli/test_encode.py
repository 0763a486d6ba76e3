"""`lomar encode`: the files that it writes hold the features of `lomar.Encoder`."""

import os

import numpy as np
import pytest
from conftest import FIXTURES
from PIL import Image

from lomar import Encoder
from lomar.cli import main

CHECKPOINT = str(FIXTURES / 'v0.1/pretrain_lomar.pth')


def paths(folder):
    return sorted(str(path) for path in folder.iterdir())


def test_a_file_of_features(photographs, tmp_path, capsys):
    out = tmp_path / 'made/features.npz'
    line = ['encode', CHECKPOINT, str(photographs), '--out', str(out), '--size', '32']
    assert main([*line, '--batch-size', '3']) == 0
    assert capsys.readouterr().out == f'8 x 16 features in {out}\n'
    found = np.load(out)
    assert found['paths'].tolist() == paths(photographs)
    expected = Encoder(CHECKPOINT)(paths(photographs), size=32).pooled
    np.testing.assert_allclose(found['features'], expected, rtol=1e-5, atol=1e-6)


def test_a_folder_with_patches_of_any_size(photographs, tmp_path):
    Image.effect_noise((64, 48), 90).save(photographs / '9.png')
    out = tmp_path / 'features'
    line = ['encode', CHECKPOINT, str(photographs), '--out', str(out), '--patches']
    assert main([*line, '--batch-size', '2']) == 0
    names = (out / 'paths.txt').read_text().splitlines()
    assert names == paths(photographs) and len(list((out / 'patches').iterdir())) == 9
    expected = Encoder(CHECKPOINT)(names)
    pooled = np.load(out / 'features.npy')
    np.testing.assert_allclose(pooled, expected.pooled, rtol=1e-5, atol=1e-6)
    for index, patches in enumerate(expected.patches):
        stored = np.load(out / f'patches/{index}.npy')
        np.testing.assert_allclose(stored, patches, rtol=1e-5, atol=1e-5)


def test_file_names_of_any_encoding(photographs, tmp_path, capsys):
    (photographs / '1.jpg').rename(photographs / os.fsdecode(b'\xfc.jpg'))
    for out in (tmp_path / 'a.npz', tmp_path / 'b'):
        assert main(['encode', CHECKPOINT, str(photographs), '--out', str(out)]) == 0
    assert np.load(tmp_path / 'a.npz')['paths'].tolist() == paths(photographs)
    written = (tmp_path / 'b/paths.txt').read_bytes().decode(errors='surrogateescape')
    assert written.splitlines() == paths(photographs)


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (['--out', 'a.csv'], '--out is a.csv; allowed: a file that ends in .npz, or a folder'),
        (['--out', 'a.npz', '--patches'], '--patches needs a folder, --out is the file a.npz'),
        (['--out', 'a', '--mean', '1'], 'mean and std have 1 and 0 numbers'),
        (['--out', 'a', '--device', 'gpu'], '--device gpu is not there: '),
    ],
)
def test_refusals(flags, message, photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    assert main(['encode', CHECKPOINT, str(photographs), *flags]) == 1
    line = capsys.readouterr().err
    assert line.startswith('lomar encode: ') and message in line
    assert sorted(tmp_path.rglob('*')) == before


def test_an_unreadable_image_is_named(photographs, tmp_path, capsys):
    (photographs / '3.jpg').write_text('no image')
    out = tmp_path / 'features.npz'
    assert main(['encode', CHECKPOINT, str(photographs), '--out', str(out)]) == 1
    assert '1 of 8 images cannot be read' in (text := capsys.readouterr().err) and '3.jpg' in text
    found = np.load(out)  # what took hours is not lost
    kept = [path for path in paths(photographs) if not path.endswith('3.jpg')]
    assert found['paths'].tolist() == kept and len(found['features']) == 7
    for path in photographs.iterdir():
        path.write_text('no image')
    out.unlink()
    assert main(['encode', CHECKPOINT, str(photographs), '--out', str(out)]) == 1
    assert '8 of 8 images cannot be read' in capsys.readouterr().err and not out.exists()
