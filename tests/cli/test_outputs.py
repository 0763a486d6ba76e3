"""No command replaces a file that a flag names, unless --overwrite is given."""

import json

import numpy as np
import pytest
from colours import detection_config, draw_coco
from conftest import FIXTURES

from lomar.cli import main
from lomar.cli.test import WRITTEN

CHECKPOINT = str(FIXTURES / 'v0.1/pretrain_lomar.pth')
CLASSIFIER = str(FIXTURES / 'v0.1/classifier_lomar.pth')
PRETRAIN = 'shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes'
DETECT = 'shapes/mask-rcnn_vitdet-tiny-lomar_shapes'
OURS = 'not to be lost'
# The words of a command, with IMAGES for a folder of images and OUT for the output that a flag
# names, and the files that the command writes for this flag.
COMMANDS = dict(
    convert=(f'convert {CHECKPOINT} OUT.pth --from lomar --to lomar', ['OUT.pth']),
    convert_safetensors=(
        f'convert {CHECKPOINT} OUT.safetensors --from lomar --to backbone',
        ['OUT.safetensors'],
    ),
    export=(f'export {CHECKPOINT} OUT.pt2 --size 32', ['OUT.pt2']),
    encode=(f'encode {CHECKPOINT} IMAGES --size 32 --out OUT.npz', ['OUT.npz']),
    encode_folder=(
        f'encode {CHECKPOINT} IMAGES --size 32 --out OUT --patches',
        ['OUT/features.npy', 'OUT/paths.txt', 'OUT/patches/3.npy'],
    ),
    predict=(
        f'predict {CLASSIFIER} IMAGES --out OUT',
        ['OUT/predictions.json', 'OUT/images.json', 'OUT/predictions.csv'],
    ),
    statistics=('statistics IMAGES --json OUT.json', ['OUT.json']),
    cost=(f'cost {PRETRAIN} --num-images 100 --json OUT.json', ['OUT.json']),
    results_table=('results --markdown OUT.md', ['OUT.md']),
    results_csv=('results --csv OUT.csv', ['OUT.csv']),
    results_plot=('results --plot OUT.png', ['OUT.png']),
    browse=(
        f'browse {PRETRAIN} --train-images IMAGES --num-images 1 --out OUT.png',
        ['OUT.png'],
    ),
    tokenizer=(
        'tokenizer --images IMAGES --out OUT.pth --steps 1 --size 32 --batch-size 2 --workers 0 '
        '--vocabulary 4 --hidden 8',
        ['OUT.pth', 'OUT.json'],
    ),
    test=(f'test {DETECT} {CHECKPOINT} --out OUT', [f'OUT/{name}' for name in WRITTEN]),
)


@pytest.fixture
def words(photographs, tmp_path):
    """Return the words of a command with paths for its placeholders."""

    def made(command):
        places = dict(IMAGES=photographs, OUT=tmp_path / 'out')
        for name, path in places.items():
            command = command.replace(name, str(path))
        return command.split()

    return made


def place(tmp_path, name):
    return tmp_path / name.replace('OUT', 'out')


@pytest.mark.parametrize('name', COMMANDS)
def test_an_existing_file_is_kept(name, words, tmp_path, capsys):
    command, outputs = COMMANDS[name]
    for output in outputs:
        path = place(tmp_path, output)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(OURS)
        assert main(words(command)) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert f'{path} is there already; --overwrite replaces it, or name another place' in said
        assert path.read_text() == OURS
        path.unlink()


@pytest.mark.parametrize('name', [name for name in COMMANDS if name != 'test'])
def test_overwrite_replaces_it(name, words, tmp_path):
    command, outputs = COMMANDS[name]
    for output in outputs:
        place(tmp_path, output).parent.mkdir(parents=True, exist_ok=True)
        place(tmp_path, output).write_text(OURS)
    assert main([*words(command), '--overwrite']) == 0
    for output in outputs:
        assert OURS.encode() not in place(tmp_path, output).read_bytes()
    assert main(words(command)) == 1


def test_a_home_folder_after_an_equals_sign(photographs, tmp_path, monkeypatch):
    """The shell does not expand such a `~`."""
    monkeypatch.setenv('HOME', str(tmp_path))
    monkeypatch.chdir(photographs)
    words = f'{CHECKPOINT} ~/photographs/0.jpg ~/photographs --size 32 --out=~/a/out.npz'
    assert main(['encode', *words.split()]) == 0
    assert len(np.load(tmp_path / 'a/out.npz')['paths']) == 9
    assert not (photographs / '~').exists()


def test_a_folder_in_place_of_a_file(words, tmp_path, capsys):
    (tmp_path / 'out.pth').mkdir()
    line = [*words(COMMANDS['convert'][0]), '--overwrite']
    assert main(line) == 1
    assert 'out.pth is a folder; allowed: the name of a file' in capsys.readouterr().err


@pytest.mark.parametrize('name', COMMANDS)
def test_a_place_that_cannot_be_written_is_named_before_the_work(name, words, tmp_path, capsys):
    (tmp_path / 'blocked').write_text(OURS)
    assert main(words(COMMANDS[name][0].replace('OUT', f'{tmp_path}/blocked/out'))) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert f'cannot be written: {tmp_path}/blocked is no writable folder' in said


@pytest.mark.parametrize('name', ['browse', 'results_plot'])
@pytest.mark.parametrize('suffix', ['', '.xyz'])
def test_a_picture_has_a_suffix_that_can_be_written(name, suffix, words, tmp_path, capsys):
    assert main(words(COMMANDS[name][0].replace('.png', suffix))) == 1
    assert f"out{suffix} ends in '{suffix}'; allowed: ." in capsys.readouterr().err


def test_pictures_do_not_replace_their_images(photographs, capsys):
    for path in photographs.iterdir():
        path.rename(path.with_suffix('.png'))
    before = {path: path.read_bytes() for path in photographs.iterdir()}
    small = ['embed_dim=16', 'depth=2']
    options = [f'model.backbone.arch.{each}' for each in small]
    line = ['reconstruct', PRETRAIN, CHECKPOINT, str(photographs), '--cfg-options', *options]
    assert main([*line, '--out', str(photographs)]) == 1
    assert '0.png is one of the images; allowed: another folder' in capsys.readouterr().err
    assert {path: path.read_bytes() for path in photographs.iterdir()} == before


def test_the_source_is_never_replaced(tmp_path, capsys):
    path = tmp_path / 'in.pth'
    path.write_bytes((FIXTURES / 'v0.1/pretrain_lomar.pth').read_bytes())
    (tmp_path / 'link.pth').symlink_to(path)
    for out in (path, tmp_path / 'link.pth'):
        flags = ['--from', 'lomar', '--to', 'lomar', '--overwrite']
        assert main(['convert', str(path), str(out), *flags]) == 1
        assert 'is the source itself' in capsys.readouterr().err


@pytest.mark.parametrize(
    'line',
    [
        'split FILE --out FOLDER --overwrite',
        'statistics FILE --objects --json FILE --overwrite',
        'statistics LIST --json LIST --overwrite',
        'results FILE --csv FILE --overwrite',
        'cost FILE --num-images 100 --json FILE --overwrite',
        'import labelbox FILE FILE --images FOLDER --overwrite',
    ],
)
def test_data_are_never_replaced_by_a_result(line, tmp_path, capsys):
    names = dict(FILE=tmp_path / 'train.json', LIST=tmp_path / 'images.txt', FOLDER=tmp_path)
    names['FILE'].write_text(OURS)
    names['LIST'].write_text(OURS)
    assert main([str(names.get(word, word)) for word in line.split()]) == 1
    assert 'is the source itself; allowed: another file' in capsys.readouterr().err
    assert {names['FILE'].read_text(), names['LIST'].read_text()} == {OURS}


def test_patch_features_of_an_earlier_run_do_not_stay(words, tmp_path):
    command = words(COMMANDS['encode_folder'][0])
    assert main(command) == 0
    assert len(list((tmp_path / 'out/patches').iterdir())) == 8
    for path in sorted((tmp_path / 'photographs').iterdir())[2:]:
        path.unlink()
    assert main([*command, '--overwrite']) == 0
    assert len(np.load(tmp_path / 'out/features.npy')) == 2
    assert len(list((tmp_path / 'out/patches').iterdir())) == 2


def test_arrays_of_the_user_are_no_features_of_an_earlier_run(words, tmp_path, capsys):
    images = tmp_path / 'out/patches'
    images.mkdir(parents=True)
    for name in ('0.npy', 'tile.npy'):
        np.save(images / name, np.zeros((32, 32, 3), np.uint8))
    before = {path: path.read_bytes() for path in images.iterdir()}
    flags = ['--value-range', '0', '255', '--overwrite']
    command = words(COMMANDS['encode_folder'][0].replace('IMAGES', str(images)))
    assert main([*command, *flags]) == 1
    assert 'out/patches/0.npy is the source itself' in capsys.readouterr().err
    assert main([*words(COMMANDS['encode_folder'][0].removesuffix(' --patches')), *flags[3:]]) == 0
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_two_outputs_are_two_files(tmp_path, capsys):
    out = str(tmp_path / 'a.csv')
    assert main(['results', '--markdown', out, '--csv', out]) == 1
    assert '--csv is the file of --markdown, ' in capsys.readouterr().err
    assert not (tmp_path / 'a.csv').exists()


def test_default_names_are_replaced(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = words(f'browse {PRETRAIN} --train-images IMAGES --num-images 1')
    assert main(command) == 0 and main(command) == 0
    assert (tmp_path / 'browse.png').exists()


def test_a_training_keeps_its_config_and_names_old_checkpoints(photographs, tmp_path, capfd):
    config = tmp_path / 'mine.py'
    text = f"# my notes\n_base_ = 'lomar::{PRETRAIN}.py'\n"
    config.write_text(text)
    small = ['arch.depth=1', 'arch.embed_dim=16', 'arch.num_heads=2', 'img_size=32', 'patch_size=4']
    options = [f'model.backbone.{each}' for each in small]
    options += ['train_dataloader.batch_size=8', 'train_dataloader.num_workers=0']
    options += ['train_cfg.max_epochs=1', 'custom_hooks=[]']
    line = ['train', str(config), '--train-images', str(photographs), '--work-dir', str(tmp_path)]
    for number in range(2):
        assert main([*line, '--cfg-options', *options]) == 0
        assert config.read_text() == text
        said = capfd.readouterr().out
        assert ('epoch_1.pth is of an earlier run' in said) == bool(number)
    saved = list(tmp_path.glob('*/vis_data/config.py'))
    assert saved and 'embed_dim=16' in saved[0].read_text()


def test_a_test_keeps_the_files_of_the_training(tmp_path, capfd):
    """The default work dir of a test is that of the training, for the same name of a config."""
    draw_coco(tmp_path, ['cat', 'dog'], 'train')
    config, work = tmp_path / 'mine.py', tmp_path / 'work'
    detection_config(tmp_path).dump(config)
    checkpoint = 'default_hooks.checkpoint'
    best = [f'{checkpoint}.type=SafeCheckpointHook', f'{checkpoint}.save_best=coco/bbox_mAP']
    flags = ['--work-dir', str(work), '--cfg-options']
    assert main(['train', str(config), *flags, 'experiment_name=a', *best]) == 0
    (line,) = [line for line in capfd.readouterr().out.splitlines() if '(val)' in line]
    assert 'coco/bbox_mAP: 1.0000' in line and 'CocoAP' not in line
    saved = (work / 'mine.py').read_text()
    assert 'SafeCheckpointHook' in saved
    assert main(['test', str(config), str(work / 'epoch_1.pth'), *flags, 'experiment_name=b']) == 0
    said = ''.join(capfd.readouterr())
    assert 'is of an earlier run' not in said and (work / 'metrics.json').exists()
    assert (work / 'mine.py').read_text() == saved
    assert json.loads((work / 'metrics.json').read_text())['epochs'] == 1
