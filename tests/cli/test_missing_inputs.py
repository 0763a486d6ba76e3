"""What commands say about a folder without images, and about a file that is no COCO file."""

import pytest
from conftest import FIXTURES, ROOT

from lomar.cli import main

CONFIG = f'{ROOT}/mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'
PRETRAIN, DETECTOR = (f'{FIXTURES}/v0.1/{kind}_lomar.pth' for kind in ('pretrain', 'detector'))
TINY = ('--cfg-options', 'model.backbone.arch.embed_dim=16', 'model.backbone.arch.depth=2')
NONE = 'Images: there are none in {path}. Allowed: a folder that contains JPEG'
SOME = 'Images: there are none in {path} (not counted: 1 x a file .txt ({path}/a.txt)). Allowed: a'
COCO = 'Annotations: {path} is a folder. Allowed: a COCO json file; `lomar import` makes one'
LOST = 'Annotations: {path} does not exist. Allowed: a COCO json file'
ROWS = {
    'predict': (['predict', DETECTOR, '{path}', '--out', 'out'], 'empty', NONE),
    'predict, other files': (['predict', DETECTOR, '{path}', '--out', 'out'], 'texts', SOME),
    'predict, videos': (['predict', DETECTOR, '{path}', '--out', 'out'], 'empty', 'names videos'),
    'encode': (['encode', PRETRAIN, '{path}', '--out', 'a.npz'], 'empty', NONE),
    'encode, other files': (['encode', PRETRAIN, '{path}', '--out', 'a.npz'], 'texts', SOME),
    'reconstruct': (['reconstruct', CONFIG, PRETRAIN, '{path}', '--out', 'out'], 'empty', NONE),
    'shard': (['shard', '{path}', 'out'], 'empty', NONE),
    'shard, missing': (['shard', '{path}', 'out'], 'gone', 'does not exist. Allowed: a folder'),
    'shard --index': (['shard', '{path}', '--index'], 'empty', 'Allowed with --index: tar shards'),
    'resize': (['resize', '{path}', 'out'], 'empty', 'empty. Allowed: a folder that contains'),
    'statistics': (['statistics', '{path}'], 'empty', NONE),
    'statistics, missing': (['statistics', '{path}'], 'gone', 'does not exist. Allowed: a folder'),
    'statistics --objects': (['statistics', '--objects', '{path}'], 'empty', COCO),
    'statistics --objects, missing': (['statistics', '--objects', '{path}'], 'gone', LOST),
    'split': (['split', '{path}', '--out', 'out'], 'empty', COCO),
    'split, missing': (['split', '{path}', '--out', 'out'], 'gone', LOST),
    'tokenizer': (['tokenizer', '--images', '{path}', '--out', 'a.pth'], 'empty', NONE),
}  # fmt: skip


@pytest.mark.parametrize('name', ROWS)
def test_one_line_without_advice_for_a_training(name, tmp_path, monkeypatch, capsys):
    words, path, expected = ROWS[name]
    flags = TINY if words[0] == 'reconstruct' else ()
    monkeypatch.chdir(tmp_path)
    for folder in ('empty', 'texts'):
        (tmp_path / folder).mkdir()
    (tmp_path / 'texts/a.txt').write_text('')
    assert main([*(word.format(path=path) for word in words), *flags]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert expected.format(path=path) in said
    assert said.startswith(f'lomar {words[0]}: ') and '--train' not in said
    assert not (tmp_path / 'out').exists()


def test_a_training_has_its_own_advice(tmp_path, capsys):
    (tmp_path / 'empty').mkdir()
    assert main(['train', CONFIG, '--train-images', str(tmp_path / 'empty'), '--dry-run']) == 1
    assert 'Give your own images with --train-images DIR' in capsys.readouterr().err


@pytest.mark.parametrize('flag', ['--val-images', 'ReconstructionHook'])
def test_missing_images_to_draw_are_an_error_of_a_dry_run(flag, photographs, tmp_path, capsys):
    gone = tmp_path / 'gone'
    config = tmp_path / 'config.py'
    hook = f"dict(type='ReconstructionHook', images='{gone}')"
    text = f"_base_ = '{CONFIG}'\ndata_root = '{photographs}'\ncustom_hooks = [{hook}]\n"
    config.write_text(f'{text}train_dataloader = dict(dataset=dict(data_root=data_root))')
    line = ['train', CONFIG, '--train-images', str(photographs), '--val-images', str(gone)]
    line = ['train', str(config)] if flag == 'ReconstructionHook' else line
    assert main([*line, '--dry-run']) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f'Images: {gone} does not exist. They are --val-images, or `images` of the Rec' in said


EMPTY = {
    'predict': (['predict', DETECTOR, '.', '--out', ''], '--out'),
    'predict, one of two': (['predict', DETECTOR, 'a.jpg', '', '--out', 'out'], 'IMAGES'),
    'encode': (['encode', PRETRAIN, '.', '--out', ''], '--out'),
    'publish': (['publish', PRETRAIN, ''], 'DIR'),
    'publish --push': (['publish', PRETRAIN, 'out', '--push', ''], '--push'),
    'publish --metrics': (['publish', PRETRAIN, 'out', '--metrics='], '--metrics'),
    'export': (['export', PRETRAIN, '', '--size', '64'], 'OUT'),
    'import': (['import', 'voc', '.', ''], 'OUT.json'),
    'split': (['split', 'a.json', '--out', ''], '--out'),
    'shard': (['shard', '.', ''], 'OUT'),
    'shard, input': (['shard', '', 'out'], 'IN'),
    'statistics': (['statistics', ''], 'IN'),
    'statistics --json': (['statistics', '.', '--json', ''], '--json'),
    'cost': (['cost', CONFIG, '--json', ''], '--json'),
    'results': (['results', '--loss', ''], '--loss'),
    'tokenizer': (['tokenizer', '--images', '', '--out', 'a.pth'], '--images'),
    'tokenizer --device': (['tokenizer', '--images', '.', '--out', 'a', '--device='], '--device'),
    'train': (['train', CONFIG, '--work-dir', ''], '--work-dir'),
    'train --train-images': (['train', CONFIG, '--train-images', ''], '--train-images'),
    'train --resume': (['train', CONFIG, '--resume', ''], '--resume'),
    'train --classes': (['train', CONFIG, '--classes', 'cat', ''], '--classes'),
    'train --mlflow': (['train', CONFIG, '--mlflow', ''], '--mlflow'),
}  # fmt: skip


@pytest.mark.parametrize('name', EMPTY)
def test_an_empty_argument_is_refused(name, tmp_path, monkeypatch, capsys):
    """It would be a default or the folder of the command; a variable of the shell is not set."""
    words, flag = EMPTY[name]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(words)
    said = capsys.readouterr().err.splitlines()[-1]
    assert stopped.value.code == 2  # wrong usage
    assert (
        said == f"lomar {words[0]}: error: argument {flag}: '' found; allowed: a text that is "
        'not empty'
    )
    assert not any(tmp_path.iterdir())
