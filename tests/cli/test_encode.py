"""`lomar encode`: the files that it writes hold the features of `lomar.Encoder`."""

import os
import sys

import cv2
import numpy as np
import pytest
import timm
import torch
from conftest import FIXTURES
from PIL import Image
from processes import run_lomar

import lomar.encoder as encoder_module
from lomar import Encoder
from lomar.checkpoints import load_file
from lomar.cli import encode, main
from lomar.visualization import similarity, similarity_picture

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
        (['--out', 'a.csv'], 'a.csv; allowed: a file that ends in .npz or .parquet, or a folder'),
        (['--out', 'a.parquet', '--patches'], '--patches needs a folder, --out is the file a.parq'),
        (['--out', 'a', '--at', '0.5', '0.5'], '--at has no effect without --map similarity'),
        (['--out', 'a', '--at', '9', '9', '--map', 'pca'], '--at has no effect without --map sim'),
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


def test_a_file_that_needs_rasterio_is_left_out(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    cv2.imwrite(str(photographs / 'z.tif'), np.zeros((64, 64, 3), np.float32))
    out = tmp_path / 'features.npz'
    line = ['encode', CHECKPOINT, str(photographs), '--out', str(out), '--size', '32']
    assert main([*line, '--value-range', '0', '1']) == 1
    assert 'z.tif is a TIFF file other than 8-bit RGB: pip install' in capsys.readouterr().err
    assert len(np.load(out)['features']) == 8


def test_a_missing_pyarrow_is_one_line(photographs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(encode, 'find_spec', lambda name: None)
    out = tmp_path / 'a.parquet'
    assert main(['encode', CHECKPOINT, str(photographs), '--out', str(out)]) == 1
    advice = "needs pyarrow: pip install 'lomar-openmmlab[parquet]'"
    assert capsys.readouterr().err == f'lomar encode: --out {out} {advice}\n'


def test_a_parquet_file_by_the_command(photographs, tmp_path):
    parquet = pytest.importorskip('pyarrow.parquet')
    line = ('encode', CHECKPOINT, photographs, '--map', 'pca', '--size', 32, '--out')
    done = run_lomar(*line, 'a.parquet', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = parquet.read_table(tmp_path / 'a.parquet')
    assert [str(field.type) for field in table.schema] == [
        'string',
        'fixed_size_list<element: float>[16]',
    ]
    assert table.column_names == ['paths', 'features']
    assert table['paths'].to_pylist() == paths(photographs)
    expected = Encoder(CHECKPOINT)(paths(photographs), size=32).pooled
    np.testing.assert_allclose(table['features'].to_pylist(), expected, rtol=1e-5, atol=1e-6)
    names = sorted(path.name for path in (tmp_path / 'a_pca').glob('*.png'))
    assert names == [f'{number}.png' for number in range(8)]
    again = run_lomar(*line, 'a.parquet', cwd=tmp_path)
    assert again.returncode == 1 and 'a.parquet is there already; --overwrite' in again.stderr


def test_parquet_needs_names_in_utf8(photographs, tmp_path, capsys):
    pytest.importorskip('pyarrow')
    (photographs / '1.jpg').rename(photographs / os.fsdecode(b'\xfc.jpg'))
    out = tmp_path / 'a.parquet'
    assert main(['encode', CHECKPOINT, str(photographs), '--out', str(out)]) == 1
    assert 'is no name in UTF-8, as Parquet needs; rename the image' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('kind', 'flags'),
    [('pca', []), ('pca', ['--size', '32']), ('similarity', []), ('similarity', ['--size', '32'])],
)
def test_maps_of_any_size(kind, flags, photographs, tmp_path, capsys):
    (photographs / 'more').mkdir()
    Image.effect_noise((64, 48), 90).save(photographs / 'more/9.png')
    out = tmp_path / 'features'
    line = ['encode', CHECKPOINT, str(photographs), '--out', str(out), '--map', kind, *flags]
    assert main([*line, '--batch-size', '2']) == 0
    assert f'pictures in {out / kind}\n' in capsys.readouterr().out
    found = sorted(str(path.relative_to(out / kind)) for path in (out / kind).rglob('*.png'))
    assert found == [*(f'{number}.png' for number in range(8)), 'more/9.png']
    sizes = {Image.open(out / kind / name).size for name in found}
    assert len(sizes) == (1 if flags else 2)
    assert len(np.load(out / 'features.npy')) == 9


def foreign(kind, tmp_path, mae):
    """Return the flags for a checkpoint of MAE or timm at the size of the fixtures."""
    weights = mae.state_dict()
    if kind == 'timm':
        size = dict(img_size=64, patch_size=8, embed_dim=48, depth=2, num_heads=3)
        weights = timm.models.VisionTransformer(**size).state_dict()
    torch.save(weights, tmp_path / 'x.pth')
    return [str(tmp_path / 'x.pth'), '--num-heads', '3']


@pytest.mark.parametrize('kind', ['mae', 'timm'])
def test_maps_of_other_models(kind, photographs, tmp_path, mae):
    for name in ('pca', 'similarity'):
        out = tmp_path / f'{name}.npz'
        line = [*foreign(kind, tmp_path, mae), str(photographs), '--size', '64', '--map', name]
        assert main(['encode', *line, '--out', str(out)]) == 0
        assert len([*(tmp_path / f'{name}_{name}').glob('*.png')]) == 8


def test_a_map_of_an_image_without_an_rgb_view(tmp_path):
    timm_model = timm.models.VisionTransformer(
        img_size=32, patch_size=8, in_chans=5, embed_dim=48, depth=1, num_heads=3
    )
    torch.save(timm_model.state_dict(), tmp_path / 'x.pth')
    (tmp_path / 'images').mkdir()
    for number in range(3):
        values = np.random.default_rng(number).normal(1000, 50, (32, 40, 5))
        np.save(tmp_path / f'images/{number}.npy', values.astype(np.float32))
    line = ['encode', str(tmp_path / 'x.pth'), str(tmp_path / 'images'), '--num-heads', '3']
    line += ['--size', '32', '--mean', *['1000'] * 5, '--std', *['50'] * 5, '--map', 'pca']
    assert main([*line, '--out', str(tmp_path / 'a.npz')]) == 0
    sizes = {Image.open(path).size for path in (tmp_path / 'a_pca').glob('*.png')}
    assert sizes == {(160 + 12, 160 + 28)}, 'the map alone'


def test_the_reference_patch(photographs, tmp_path):
    """A position in pixels is one of the image that is drawn."""
    out, at = tmp_path / 'a.npz', ['--at', '50', '0.5']
    line = ['encode', CHECKPOINT, str(photographs), '--map', 'similarity', *at, '--out', str(out)]
    assert main(line) == 0
    encoder = Encoder(CHECKPOINT)
    pixels = encoder.read(photographs / '0.jpg')
    (patches,) = encoder([pixels]).patches
    side = encoder.backbone.patch_size
    expected = similarity_picture(pixels, patches, patches.shape[1] // 2, 50 // side)
    drawn = np.array(Image.open(tmp_path / 'a_similarity/0.png'))
    assert np.array_equal(drawn, np.array(expected))
    assert similarity(patches, 0, 0)[0, 0].item() == pytest.approx(1)


AT = ('--map', 'similarity', '--at')
BEFORE = {
    'in some images': ([*AT, '60', '0.5'], '--at is outside of 8 of 9 images; shares such as'),
    'and named': ([*AT, '60', '0.5'], '0.jpg: 60, 0.5 is outside of 56 x 40 pixels\n'),
    'not all of them': ([*AT, '60', '0.5'], '\n  and 3 more\n'),
    'in all images': ([*AT, '0.5', '900'], '--at is outside of 9 of 9 images'),
    'after --size': ([*AT, '32', '0', '--size', '32'], '32, 0 is outside of 32 x 32 pixels'),
    'size': (['--size', '30'], 'size is 30 x 30; allowed: multiples of the patch size, 4 pixels\n'),
    'huge': (['--size', '100000'], 'has 625,000,000 patches of 4 pixels; allowed: 65,536, with a'),
}


@pytest.mark.parametrize('name', BEFORE)
def test_flags_are_checked_before_the_encoding(name, photographs, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise AssertionError('a forward pass')

    monkeypatch.setattr(Encoder, '_encode', fail)
    Image.effect_noise((64, 48), 90).convert('RGB').save(photographs / '9.png')
    (tmp_path / 'out/patches').mkdir(parents=True)
    np.save(tmp_path / 'out/patches/0.npy', np.zeros(1))
    before = sorted(tmp_path.rglob('*'))
    flags, message = BEFORE[name]
    line = ['encode', CHECKPOINT, str(photographs), '--out', str(tmp_path / 'out'), *flags]
    assert main([*line, '--overwrite']) == 1
    said = capsys.readouterr()
    assert message in said.err and said.out == ''
    assert sorted(tmp_path.rglob('*')) == before


NOTES = {
    'stored': ('v0.1/pretrain_lomar.pth', 'has 320 patches at its native size (80 x 64 pixels, '
               'patches of 4); --size 64, the size in training with 256 patches, is faster\n'),
    'positions': ('v0.1/pretrain_mae.pth', '--size 64, the size in training with 256 patches, is'),
    'bare': (None, 'with the side in pixels of the training images, is faster\n'),
}  # fmt: skip


@pytest.mark.parametrize('name', NOTES)
def test_a_note_on_many_patches(name, tmp_path, capsys):
    source, message = NOTES[name]
    checkpoint = FIXTURES / (source or 'v0.1/pretrain_lomar.pth')
    if source is None:
        torch.save(load_file(checkpoint)['state_dict'], tmp_path / 'bare.pth')
        checkpoint = tmp_path / 'bare.pth'
    for number, width in enumerate((80, 56)):
        Image.effect_noise((width, width - 16 * (1 - number)), 90).save(tmp_path / f'{number}.png')
    large, small = (str(tmp_path / f'{number}.png') for number in (0, 1))
    out = ['--out', str(tmp_path / 'a'), '--overwrite']
    assert main(['encode', str(checkpoint), large, large, *out]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f'Note: {large} has 320 patches') and message in said
    assert said.count('Note') == 1
    for words in ([small], [large, '--size', '64']):
        assert main(['encode', str(checkpoint), *words, *out]) == 0
        assert 'Note' not in capsys.readouterr().out


def test_large_images_are_encoded_in_small_batches(tmp_path, monkeypatch, capsys):
    """A batch has at most so many patches; the bar counts images, as that of `predict`."""
    sizes = (64, 64, 32, 32, 32, 32, 128, 32)
    for number, side in enumerate(sizes):
        Image.effect_noise((side, side), 90).convert('RGB').save(tmp_path / f'{number}.png')
    lengths, original = [], Encoder._encode

    def counted(self, batch):
        lengths.append(batch.shape)
        return original(self, batch)

    monkeypatch.setattr(Encoder, '_encode', counted)
    expected = Encoder(CHECKPOINT)([tmp_path / f'{n}.png' for n in range(8)], batch_size=1).pooled
    lengths.clear()
    monkeypatch.setattr(encoder_module, 'MAX_PATCHES', 3 * 8 * 8)  # patches of 4 pixels
    out = tmp_path / 'a.npz'
    assert main(['encode', CHECKPOINT, str(tmp_path), '--out', str(out)]) == 0
    assert [(shape[0], shape[2]) for shape in lengths] == [
        *((1, 64), (1, 64), (3, 32), (1, 32), (1, 128), (1, 32))
    ]
    np.testing.assert_allclose(np.load(out)['features'], expected, rtol=1e-5, atol=1e-6)
    assert '8/8' in (said := capsys.readouterr().err) and 'img' in said


def test_an_image_that_the_model_does_not_support(photographs, tmp_path, capsys):
    Image.effect_noise((3, 3), 90).save(photographs / '9.png')
    out = tmp_path / 'features.npz'
    assert main(['encode', CHECKPOINT, str(photographs), '--out', str(out)]) == 1
    assert '9.png: an image of 3 x 3 pixels is smaller than a patch' in capsys.readouterr().err
    assert len(np.load(out)['features']) == 8


@pytest.mark.parametrize(
    ('at', 'message'),
    [
        (['1.5', '0.5'], '1.5 found; allowed: a whole number of pixels, or a share from 0.0'),
        (['-1', '0.5'], '-1 found; allowed'),
        (['nan', '0.5'], 'nan found; allowed'),
        (['x', '0.5'], 'x found; allowed'),
    ],
)
def test_a_wrong_position(at, message, photographs, tmp_path, capsys):
    line = ['encode', CHECKPOINT, str(photographs), '--map', 'similarity', '--at', *at]
    with pytest.raises(SystemExit):
        main([*line, '--out', str(tmp_path / 'a.npz')])
    assert message in capsys.readouterr().err


def test_no_picture_replaces_an_image(tmp_path, capsys):
    (tmp_path / 'a_pca').mkdir()
    image = tmp_path / 'a_pca/1.png'
    Image.effect_noise((64, 48), 90).save(image)
    line = ['encode', CHECKPOINT, str(image), '--map', 'pca', '--overwrite']
    assert main([*line, '--out', str(tmp_path / 'a.npz')]) == 1
    assert '1.png is one of the images; allowed: another folder' in capsys.readouterr().err
