"""The `lomar` command: help, versions, configs by name, errors, exit codes, scripts in tools/."""

import argparse
import ast
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT
from mmengine.config import Config, DictAction
from old_checkpoints import TINY_DETECTOR
from processes import without_gpus

from lomar import cli
from lomar.checkpoints.names import SOURCES, TARGETS
from lomar.cli import convert, demo, main, parse_args, results, shapes
from lomar.cli.config_options import option
from lomar.datasets.shape_drawing import CATEGORIES
from lomar.datasets.shapes import make_shapes
from lomar.engine import write_metrics
from lomar.engine.config_files import find_config, packaged_configs
from lomar.visualization.results_table import METRICS

ONE_THREAD = dict(OMP_NUM_THREADS='1')
LOMAR = [sys.executable, '-m', 'lomar']
TOY = 'shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes'
SMALL = ['model.backbone.arch.depth=2', 'model.backbone.arch.embed_dim=32']
SMALL += ['train_dataloader.batch_size=4', 'train_dataloader.num_workers=0']


def run(command, **options):
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )


HEAVY = {'torch', 'numpy', 'PIL', 'matplotlib', 'mmengine', 'mmcv', 'mmdet', 'mmpretrain'}


def test_help_is_light():
    """No command needs more than the standard library to print its help."""
    code = """
        import contextlib, io, sys
        from lomar.cli import COMMANDS, main
        for name in COMMANDS:
            with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as text:
                main([name, '--help'])
            assert text.getvalue().startswith(f'usage: lomar {name}')
        print(*{name.partition('.')[0] for name in sys.modules})
    """
    done = run([sys.executable, '-c', textwrap.dedent(code)], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stdout.split())


@pytest.mark.parametrize(
    'command', [[*LOMAR, '--help'], [sys.executable, ROOT / 'tools/train.py', '--help']]
)
def test_help_of_fresh_processes_is_light(command):
    done = run(command, cwd=ROOT, env={**os.environ, 'PYTHONPROFILEIMPORTTIME': '1'})
    assert done.returncode == 0 and 'usage: lomar' in done.stdout
    imported = re.findall(r'\| +([\w.]+)$', done.stderr, re.MULTILINE)
    assert 'lomar.cli' in imported and not HEAVY & {name.partition('.')[0] for name in imported}


def test_every_command_is_documented():
    rows = re.findall(r'^\| `lomar (\w+)', (ROOT / 'docs/commands.md').read_text(), re.MULTILINE)
    assert tuple(rows) == cli.COMMANDS


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_what_commands_import_late_exists(name):
    tree = ast.parse((ROOT / f'lomar/cli/{name}.py').read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for each in node.names:
                module = importlib.import_module(node.module)
                assert hasattr(module, each.name) or importlib.util.find_spec(
                    f'{node.module}.{each.name}'
                ), (node.module, each.name)


def test_choices_and_defaults_are_those_of_the_library():
    assert (convert.SOURCES, convert.TARGETS) == (SOURCES, TARGETS)
    assert tuple(CATEGORIES) == shapes.CATEGORIES
    assert tuple(METRICS) == results.KINDS


@pytest.mark.parametrize(
    'words',
    [
        ['a=1', 'b.c=[(1, 2),x]', 'd=None'],
        ['a=1,2', 'b=true', "c='x'", 'd=e=f', 'g=1e-3'],
        ['a=(1,)', 'b=[]', 'c='],
    ],
)
def test_options_are_read_as_mmengine_reads_them(words):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    line = ['--cfg-options', *words, '--cfg-options', 'z=1']
    expected = parser.parse_args(line).cfg_options
    assert parse_args(['check', 'CONFIG', *line]).cfg_options == expected


@pytest.mark.parametrize(
    ('text', 'value'),
    [  # where mmengine removes spaces and quotes
        ('/my drive/a (old).pth', '/my drive/a (old).pth'),
        ("'/data/run,1'", '/data/run,1'),
        ("'5'", '5'),
        ("it's", "it's"),
        ('[traffic light, car]', ['traffic light', 'car']),
        ("['traffic light','a, b']", ['traffic light', 'a, b']),
        ("[[it's, 'a, b'], x y]", [["it's", 'a, b'], 'x y']),
        ('a b, c', ['a b', 'c']),
        (' [1, (2.5, True), None] ', [1, (2.5, True), None]),
        ('cat,', ['cat']),
        ("'bbox','segm'", ['bbox', 'segm']),
        ("('bbox','segm')", ('bbox', 'segm')),
        ('(1,2),(3,4)', [(1, 2), (3, 4)]),
        ("[['light (red'], true]", [['light (red'], True]),
        ('[1] [2]', '[1] [2]'),
    ],
)
def test_options_keep_spaces_and_quoted_text(text, value):
    line = ['check', 'CONFIG', '--cfg-options', f'key={text}']
    assert parse_args(line).cfg_options == {'key': value}


@pytest.mark.parametrize('text', ['/a b/c', '/a,b', '[a]', '5', 'None', "it's, both", '/a (b', ''])
def test_options_of_text(text):
    line = ['check', 'CONFIG', '--cfg-options', option('key', text)]
    assert parse_args(line).cfg_options == {'key': text}


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('check CONFIG --cfg-options a', "--cfg-options: 'a' found; allowed: KEY=VALUE"),
        ('check CONFIG --cfg-options a=[(1]', "'a=[(1]': brackets or quotes are not in pairs"),
        ('check CONFIG --cfg-options a=1,)2(', "'a=1,)2(': brackets or quotes are not in pairs"),
        ("check CONFIG --cfg-options a='b,c", 'brackets or quotes are not in pairs'),
        ('check CONFIG --cfg-options a={b:1}', "'a={b:1}' found; allowed: KEY=VALUE, and KEY.NAME"),
        ('check CONFIG --cfg-options a=dict(b=1,c=2)', 'and KEY.NAME=VALUE for each entry of'),
        ('resize IN OUT --workers -1', '--workers: -1 found; allowed: 1 or more'),
        ('train', 'the following arguments are required: CONFIG'),
        ('browse CONFIG --num-images 0', '--num-images: 0 found; allowed: 1 or more'),
        ('trian CONFIG', "invalid choice: 'trian'"),
        ('', 'the following arguments are required: COMMAND'),
    ],
)
def test_wrong_usage_has_the_code_2(line, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_versions(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(['--version'])
    printed = capsys.readouterr().out
    assert stopped.value.code == 0
    for name in ('lomar', 'python', 'torch', r'(onedl-)?mmengine'):
        assert re.search(rf'^{name} \d+\.\d+', printed, re.MULTILINE), name


def test_completion(capsys):
    pytest.importorskip('shtab')
    with pytest.raises(SystemExit) as stopped:
        main(['--print-completion', 'bash'])
    script = capsys.readouterr().out
    assert stopped.value.code == 0 and '--cfg-options' in script and 'reconstruct' in script
    assert run(['bash', '-n', '/dev/stdin'], input=script).returncode == 0


def test_completion_without_shtab_is_one_line(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'shtab', None)
    with pytest.raises(SystemExit) as stopped:
        main(['--print-completion', 'bash'])
    message = "lomar: --print-completion needs shtab: pip install 'lomar-openmmlab[completion]'\n"
    assert stopped.value.code == 1 and capsys.readouterr().err == message


def test_configs_are_found_by_path_and_by_name(tmp_path):
    path = ROOT / f'mmconfigs/{TOY}.py'
    for name in (path, str(path), TOY, f'{TOY}.py'):
        assert find_config(name).samefile(path)
    assert len(packaged_configs()) == len(
        [each for each in (ROOT / 'mmconfigs').rglob('*.py') if '_base_' not in each.parts]
    )
    own = tmp_path / 'lomar_pretrain.py'
    own.touch()
    assert find_config(own) == own


@pytest.mark.parametrize(
    ('name', 'near'),
    [
        ('lomar_pretrian', 'lomar_pretrain'),
        ('mask-rcnn_vitdet-b_lomar_lsj-100e_coco', 'detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco'),
        ('configs/lomar_pretrain.py', 'lomar_pretrain'),
        ('coco-512px', 'detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco-512px'),
    ],
)
def test_unknown_configs_list_the_nearest_names(name, near, capsys):
    assert main(['train', name]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f'lomar train: {name} is neither a file nor a packaged config; nearest')
    assert near in re.split(r'[ ,\n]+', line) and line.count('\n') == 1


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('model = dict(', "'(' was never closed"),
        ('work_dir = "a"', 'the config has no model'),
        ('model = dict(type="LoMaR")', 'no train_dataloader, so there is nothing to train'),
        ('custom_imports = dict(imports=["absent"], allow_failed_imports=False)', 'absent'),
        ('_base_ = "lomar::lomar_pretrain.py"', 'specify the package name'),
    ],
)
def test_wrong_configs_are_one_line(text, message, tmp_path, capsys):
    config = tmp_path / 'config.py'
    config.write_text(text)
    assert main(['train', str(config)]) == 1
    line = capsys.readouterr().err
    assert line.startswith(f'lomar train: {config}: ') and message in line


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('--cfg-options model.type=LoMar', 'LoMar is not in the mmpretrain::model registry'),
        ('--cfg-options optim_wrapper.optimizer.type=Adm', "optimizer.type is 'Adm', which is not"),
        ('--cfg-options launcher=pytorch', 'has no effect; use --launcher'),
        ('--launcher pytorch', '--launcher pytorch: the environment has no RANK'),
        ('--launcher slurm', '--launcher slurm: the environment has no SLURM_PROCID'),
        ('--launcher mpi', '--launcher mpi: the environment has no OMPI_COMM_WORLD_RANK'),
    ],
)
def test_wrong_settings_are_one_line(words, message, photographs, capsys):
    command = ['train', TOY, '--dry-run', '--train-images', str(photographs), *words.split()]
    assert main([*command, '--cfg-options', *SMALL]) == 1
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    'error',
    [
        torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 MiB.'),
        MemoryError('Unable to allocate 9 GiB'),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_too_little_memory_is_one_line(error, tmp_path, capsys, monkeypatch):
    def lacking(*_, **__):
        raise error

    monkeypatch.setattr('lomar.cli.statistics.run', lacking)
    assert main(['statistics', str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r'lomar statistics: The (GPU|computer) has too little .* images\n', said)


def test_mpi_needs_an_address(photographs, capsys, monkeypatch):
    monkeypatch.setenv('OMPI_COMM_WORLD_RANK', '0')
    monkeypatch.delenv('MASTER_ADDR', raising=False)
    command = ['train', TOY, '--dry-run', '--train-images', str(photographs), '--launcher', 'mpi']
    assert main([*command, '--cfg-options', *SMALL]) == 1
    assert (
        'lomar train: --launcher mpi: the environment has no MASTER_ADDR' in capsys.readouterr().err
    )


def test_settings_of_the_config_stay_without_a_flag(tmp_path, capsys):
    """Worker processes as the config says; a run is quiet if it was asked to, not its config."""
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = "lomar::{TOY}.py"\nquiet = True\ncustom_hooks = None')
    flags = ['--print-config', '--train-images', 'absent', '--cfg-options']
    options = [f'train_dataloader.{key}' for key in ('num_workers=2', 'persistent_workers=False')]
    assert main(['train', str(config), *flags, *options]) == 0
    cfg = Config.fromstring(capsys.readouterr().out, '.py')
    assert cfg.train_dataloader.persistent_workers is False and cfg.quiet is False
    assert main(['train', str(config), *flags, *options[:1]]) == 0
    assert Config.fromstring(capsys.readouterr().out, '.py').train_dataloader.persistent_workers


def test_the_printed_config_is_that_of_the_run(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ['--train-images', 'absent', '--amp', '--resume', '--cfg-options', *SMALL]
    assert main(['train', TOY, '--print-config', *flags]) == 0
    printed = capsys.readouterr()
    cfg = Config.fromstring(printed.out, '.py')
    assert cfg.train_dataloader.dataset.data_root == 'absent'
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.model.backbone.arch.depth == 2
    assert 'Nothing to resume' in printed.err and not list(tmp_path.iterdir())


def test_a_dry_run_builds_everything_and_writes_nothing(photographs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob('*'))
    command = ['train', TOY, '--dry-run', '--train-images', str(photographs)]
    assert main([*command, '--cfg-options', *SMALL]) == 0
    text = capsys.readouterr().out
    assert 'nothing was trained, nothing written' in text
    assert re.search(r'model +LoMaR, 0\.\d\d M parameters', text)
    assert re.search(r'\n  loaded +one batch of 4 of the 8 training images', text)
    assert main([*command, '--cfg-options', *SMALL, 'train_dataloader.batch_size=9']) == 1
    assert 'give only 8 images per process' in capsys.readouterr().err
    options = [*SMALL, 'optim_wrapper.optimizer.lr=-1']
    assert main([*command, '--cfg-options', *options]) == 1
    assert 'optim_wrapper.optimizer.lr is -1; allowed: a number' in capsys.readouterr().err
    assert sorted(tmp_path.rglob('*')) == before


def test_a_dry_run_of_a_test_loads_the_checkpoint(tmp_path, capsys):
    make_shapes(tmp_path / 'shapes', 1, 8, 64, 0, workers=1, categories='texture')
    labels = tmp_path / 'shapes/annotations/val.txt'
    command = ['test', 'shapes/vit-tiny_lomar_1xb32-coslr-16e_shapes']
    command += [str(FIXTURES / 'v0.1/classifier_lomar.pth'), '--val-images', str(labels)]
    options = ['model.backbone.arch.embed_dim=16', 'model.head.in_channels=16']
    before = sorted(tmp_path.rglob('*'))
    command += ['--dry-run', '--work-dir', str(tmp_path / 'work'), '--cfg-options', *options]
    assert main([*command, 'model.backbone.arch.depth=2']) == 0
    assert re.search(r'loaded +one batch of \d+ of the 8 evaluation', capsys.readouterr().out)
    assert main([*command, 'model.backbone.arch.depth=3']) == 1
    line = capsys.readouterr().err
    assert 'classifier_lomar.pth: the weights do not fit the model: Error(s) in loading' in line
    assert 'Use the config that the training saved in its work dir' in line
    assert sorted(tmp_path.rglob('*')) == before


def test_a_quiet_test_prints_its_results(tmp_path, capsys):
    make_shapes(tmp_path / 'shapes', 1, 8, 64, 0, workers=1, categories='texture')
    labels = tmp_path / 'shapes/annotations/val.txt'
    command = ['test', 'shapes/vit-tiny_lomar_1xb32-coslr-16e_shapes', '--quiet', '--val-images']
    command += [str(labels), str(FIXTURES / 'v0.1/classifier_lomar.pth')]
    command += [
        '--work-dir',
        str(tmp_path / 'work'),
        '--cfg-options',
        'test_dataloader.num_workers=0',
    ]
    options = ['arch.embed_dim=16', 'arch.depth=2']
    command += ['model.head.in_channels=16', *(f'model.backbone.{each}' for each in options)]
    assert main(command) == 0
    said = capsys.readouterr().out
    metrics = json.loads((tmp_path / 'work/metrics.json').read_text())['metrics']
    assert f'accuracy/top1: {metrics["accuracy"]["top1"]:.6g}\n' in said


@pytest.mark.parametrize('order', [(0, 1, 2), (1, 0, 2), ('a', 'b', 'c')])
def test_classes_are_those_of_the_training(order, tmp_path, capsys):
    """In any order; tests/engine/test_class_labels.py has the figures."""
    make_shapes(tmp_path / 'shapes', 1, 2, 64, 0, workers=1, categories='texture')
    labels = tmp_path / 'shapes/annotations/val.json'
    coco = json.loads(labels.read_text())
    names = dict(enumerate(each['name'] for each in coco['categories']))
    for category, key in zip(coco['categories'], order, strict=True):
        category['name'] = names.get(key, key)
    labels.write_text(json.dumps(coco))
    config = 'shapes/mask-rcnn_vitdet-tiny-lomar_shapes'
    command = ['test', config, str(FIXTURES / 'v0.1/detector_lomar.pth'), '--dry-run']
    command += ['--val-ann', str(labels), '--val-images', str(tmp_path / 'shapes/val')]
    assert main([*command, '--cfg-options', *TINY_DETECTOR]) == int(order[0] == 'a')
    error = capsys.readouterr().err
    assert ("the model has 3: ['striped', 'checked', 'dotted']" in error) == (order[0] == 'a')


@pytest.mark.parametrize(('name', 'digits'), [('~/a.pth', 64), ('https://host/a.pth', 0)])
def test_metrics_of_a_checkpoint_that_is_no_plain_path(name, digits, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'a.pth').touch()
    metric = types.SimpleNamespace(summary={})
    runner = types.SimpleNamespace(
        test_dataloader=types.SimpleNamespace(dataset=FakeDataset([1])),
        test_evaluator=types.SimpleNamespace(metrics=[metric]),
        work_dir=tmp_path,
        cfg=Config(dict(model=dict(type='LoMaR'))),
        loaded_record=None,
    )
    record = json.loads(write_metrics(runner, 'CONFIG', name, {}).read_text())
    assert record['checkpoint'] == name and len(record['checkpoint_sha256']) == digits
    assert not record['tta']
    runner.cfg.model.tta_cfg = dict(max_per_img=100)
    assert json.loads(write_metrics(runner, 'CONFIG', name, {}).read_text())['tta']
    del metric.summary  # as of evaluators of other packages
    written = write_metrics(runner, 'CONFIG', name, {'coco/AP': 0.5}).read_text()
    assert json.loads(written)['metrics'] == {'coco/AP': 0.5}


def test_metrics_of_several_datasets_and_evaluators(tmp_path):
    parts = [FakeDataset([1], left_out={'a.png': 'damaged'}), FakeDataset([2, 3], 'test.json')]
    both = types.SimpleNamespace(dataset=types.SimpleNamespace(datasets=parts))
    runner = types.SimpleNamespace(
        test_dataloader=types.SimpleNamespace(dataset=FakeDataset([1, 2, 3], dataset=both.dataset)),
        test_evaluator=types.SimpleNamespace(metrics=[types.SimpleNamespace(summary={'a': 1})] * 2),
        work_dir=tmp_path,
        cfg=Config(dict(model=dict(type='BoxTTAModel', module=dict(backbone=dict(arch='base'))))),
        loaded_record=None,
    )
    (tmp_path / 'a.pth').touch()
    results = {'a': 1, 'b': 2}
    path = write_metrics(runner, 'CONFIG', tmp_path / 'a.pth', results)
    record = json.loads(path.read_text())
    assert record['dataset'] == 'val.json, test.json' and record['images'] == 3
    assert record['left_out'] == {'a.png': 'damaged'}
    assert record['metrics'] == results and record['arch'] == 'base'


class FakeDataset(list):
    def __init__(self, items, ann_file='val.json', **attributes):
        super().__init__(items)
        vars(self).update(attributes, ann_file=ann_file)


def test_quiet_leaves_the_log_to_the_file(photographs, tmp_path):
    flags = ['--train-images', photographs, '--work-dir', tmp_path / 'work', '--quiet']
    options = [*SMALL, 'train_cfg.max_epochs=1', 'default_hooks.logger.interval=1']
    done = run([*LOMAR, 'train', TOY, *flags, '--cfg-options', *options])
    assert done.returncode == 0, done.stderr
    assert 'Epoch(train)' not in done.stdout + done.stderr
    (log,) = (tmp_path / 'work').glob('*/*.log')
    assert 'Epoch(train)' in log.read_text()


def test_an_error_of_a_process_that_loads_data_is_one_line(photographs, tmp_path, capsys):
    """As without such processes: PyTorch's text with its traceback is shortened."""
    shown, files = tmp_path / 'shown', tmp_path / 'files'
    shown.mkdir(), files.mkdir()
    for number in range(4):
        np.save(shown / f'{number}.npy', np.zeros((64, 64, 4), np.float32))
        np.save(files / f'{number}.npy', np.zeros((64, 64, 5), np.float32))
    flags = ['--train-images', str(files), '--val-images', str(shown), '--work-dir']
    options = [f'model.data_preprocessor.{key}=[1,1,1,1]' for key in ('mean', 'std')]
    options += [*SMALL, 'model.backbone.in_channels=4', 'train_dataloader.num_workers=1']
    assert main(['train', TOY, *flags, str(tmp_path / 'work'), '--cfg-options', *options]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.match(r'lomar train: \S+/files/\d.npy has 5 channels, .* allowed: the 4 of', line)


def test_a_demo_without_scikit_learn_ends_before_its_first_step(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    assert main(['demo', '--work-dir', str(tmp_path)]) == 1
    assert capsys.readouterr().err.endswith('pip install scikit-learn\n')
    assert not list(tmp_path.iterdir())


def test_the_demo_keeps_a_list_of_the_user(tmp_path, capsys):
    (tmp_path / 'images.txt').write_text('mine')
    line = ['demo', '--work-dir', str(tmp_path), '--images', str(tmp_path / 'images.txt')]
    assert main(line) == 1
    assert 'images.txt is a file that the demo writes; rename it' in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ['mine']


@pytest.mark.parametrize(('given', 'expected'), [('', '10000'), ('0', '0')])
def test_waiting_threads_of_the_demo_leave_the_cores_to_others(given, expected, monkeypatch):
    monkeypatch.delenv('GOMP_SPINCOUNT', raising=False)
    if given:
        monkeypatch.setenv('GOMP_SPINCOUNT', given)
    seen = []
    done = types.SimpleNamespace(returncode=0)
    monkeypatch.setattr(subprocess, 'run', lambda *_, **options: seen.append(options) or done)
    demo.call('shapes')
    assert seen[0]['env'] == dict(os.environ, GOMP_SPINCOUNT=expected)


@pytest.mark.slow
def test_torchrun_starts_the_command(photographs, tmp_path):
    flags = [
        '--train-images',
        photographs,
        '--work-dir',
        tmp_path / 'work',
        '--launcher',
        'pytorch',
    ]
    options = [*SMALL, 'train_cfg.max_epochs=1', 'env_cfg.dist_cfg.backend=gloo']
    start = [sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node', '2']
    start += ['--master_port', '29655', '-m', 'lomar', 'train', TOY, *flags]
    env = {**os.environ, **ONE_THREAD, **without_gpus(2)}
    done = run([*start, '--cfg-options', *options], cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert '2 process(es) x 4' in done.stdout + done.stderr
    assert (tmp_path / 'work/epoch_1.pth').exists()


class TestErrors:
    """What happens to an exception of a command."""

    @pytest.fixture
    def fail(self, monkeypatch):
        def fail(error):
            monkeypatch.setattr('lomar.cli.check.run', raising(error))
            return main(['check', 'CONFIG'])

        return fail

    def test_files_and_checks_are_one_line(self, fail, capsys):
        assert fail(FileNotFoundError(2, 'No such file or directory', 'a.json')) == 1
        assert capsys.readouterr().err == (
            "lomar check: [Errno 2] No such file or directory: 'a.json'\n"
        )
        assert main(['results', str(ROOT / 'docs')]) == 1
        assert capsys.readouterr().err == (
            f'lomar results: {ROOT}/docs is a folder; allowed: a file\n'
        )
        assert main(['cost', 'lomar_pretrain', '--utilisation', '4']) == 1
        assert capsys.readouterr().err.startswith('lomar cost: --utilisation is 4.0; allowed: ')

    def test_a_check_stays_one_where_a_registry_wraps_it(self, fail, capsys):
        from mmengine.registry import HOOKS

        def build(_):
            HOOKS.build(dict(type='SafeCheckpointHook', max_keep_ckpts=1))

        assert fail(build) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith('lomar check: ') and 'max_keep_ckpts is 1' in line

    def test_bugs_keep_their_traceback(self, fail):
        for error in (ValueError('of a library'), TypeError('x'), KeyError('x')):
            with pytest.raises(type(error)):
                fail(error)

    def test_interruption(self, fail, capsys):
        assert fail(KeyboardInterrupt()) == 130
        assert capsys.readouterr().err == 'lomar check: interrupted\n'


def raising(error):
    def run(args):
        if callable(error):
            return error(args)
        raise error

    return run


def test_a_value_error_after_the_first_step_is_a_bug(photographs, tmp_path, monkeypatch):
    from lomar.engine import ThroughputHook

    def stop(self, runner, *_, **__):
        if runner.iter == 1:
            raise ValueError('in a step')

    monkeypatch.setattr(ThroughputHook, 'after_train_iter', stop)
    flags = ['--train-images', str(photographs), '--work-dir', str(tmp_path / 'work')]
    with pytest.raises(RuntimeError, match='training stopped after step 1'):
        main(['train', TOY, *flags, '--cfg-options', *SMALL])


def test_a_terminated_command_cleans_up(tmp_path):
    """SIGTERM ends with 128 + 15 after unfinished files are removed."""
    command = [*LOMAR, 'shapes', '--out', tmp_path / 'shapes', '--train', '100000']
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE)
    while not re.search(rb' [1-9]\d*/100400', process.stderr.read1()):  # images of the progress bar
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143 and not list(tmp_path.iterdir())


def test_a_closed_pipe_ends_quietly():
    done = run(['bash', '-c', f'{sys.executable} -m lomar results | true; echo ${{PIPESTATUS[0]}}'])
    assert done.stdout == '141\n' and done.stderr == ''


def test_a_closed_standard_output_is_no_failure():
    done = run(['bash', '-c', f'{sys.executable} -m lomar results >&-; echo $? >&2'])
    assert done.stderr == '0\n'


def bare(path):
    """An environment in which no virtual environment is active."""
    return {'PATH': f'{path}:/usr/bin:/bin', 'HOME': os.environ['HOME']}


def test_scripts_find_the_interpreter(tmp_path):
    """The scripts run the checkout's packages with PYTHON, .venv or python, in this order."""
    shown = tmp_path / 'shown'
    python = tmp_path / 'python'
    python.write_text(f'#!/bin/bash\necho "$PYTHONPATH" "$@" > {shown}\n')
    python.chmod(0o755)
    (tmp_path / 'srun').write_text('#!/bin/bash\nwhile [[ $1 != *python ]]; do shift; done\n"$@"\n')
    (tmp_path / 'srun').chmod(0o755)
    environment = {**bare(tmp_path), 'PYTHON': str(python)}
    for line, expected in {
        'dist_train.sh C 2 --amp': '--nproc_per_node=2 -m lomar train C --launcher pytorch --amp',
        'dist_test.sh C W 2 --tta': '--nproc_per_node=2 -m lomar test C W --launcher pytorch --tta',
        'slurm_train.sh P J C D --amp': '-m lomar train C --work-dir=D --launcher slurm --amp',
        'slurm_test.sh P J C W --tta': '-m lomar test C W --launcher slurm --tta',
    }.items():
        name, *words = line.split()
        done = run([ROOT / 'tools' / name, *words], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        assert shown.read_text().startswith(f'{ROOT} -')
        assert shown.read_text().endswith(f'{expected}\n')
        assert run([ROOT / 'tools' / name], env=environment).returncode == 2


@pytest.mark.parametrize('name', ['train', 'test'])
def test_python_scripts_run_the_commands(name, tmp_path):
    done = run([sys.executable, ROOT / f'tools/{name}.py', '--help'], cwd=tmp_path, env=bare(''))
    assert done.returncode == 0 and done.stdout.startswith(f'usage: lomar {name}')


def test_a_script_without_any_environment_says_what_to_do(tmp_path):
    tools = tmp_path / 'tools'
    tools.mkdir()
    for name in ('run_command.py', 'train.py'):
        (tools / name).write_text((ROOT / 'tools' / name).read_text())
    # -S: an interpreter without installed packages.
    command = [sys.executable, '-S', str(tools / 'train.py'), 'lomar_pretrain']
    env = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and 'run make install' in done.stderr
    assert len(done.stderr.splitlines()) == 1
