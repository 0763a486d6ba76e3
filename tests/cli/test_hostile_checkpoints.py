"""Checkpoints with code in their config: no reader executes it, and each stops with one line."""

import ast
import re
import sys

import pytest
import torch
from conftest import FIXTURES, ROOT
from mmdet.apis import DetInferencer, init_detector
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmpretrain import FeatureExtractor, ImageClassificationInferencer, get_model
from torch import nn

import lomar
from lomar.checkpoints import load_file, stored_config
from lomar.cli import main

SHAPES = ROOT / 'mmconfigs/shapes'
PRETRAIN = 'lomar_vit-tiny-p4_1xb32-coslr-8e_shapes'
DISTIL = 'lomar-distil_vit-tiny-p8_1xb32-coslr-8e_shapes'
BEIT = 'lomar-beit_vit-tiny-p4_1xb32-coslr-8e_shapes'
SYSTEM = "__import__('os').system('touch {}')"
TEXTS = dict(
    expression=SYSTEM,
    statement='import os\nos.system("touch {}")',
    setting='model = dict(type="LoMaR", backbone=[1, dict(arch=' + SYSTEM + ')])',
    comprehension='a = [' + SYSTEM + ' for _ in range(1)]',
    base="_base_ = '{}'",
    lazy='from mmengine.config import read_base\nwith read_base():\n    from .x import *',
    braces="a = '{{{{ fileDirname }}}}' + " + SYSTEM,
)
PLACES = ('cfg', 'config', 'hub', 'reduce')
REFUSED = r'evil\.pth was refused: (the config stored in|it is not a PyTorch file)'


def save(path, kind, place, text):
    """Write a checkpoint of an earlier version with a text in place of its config."""
    content = load_file(FIXTURES / f'v0.1/{kind}.pth')
    if place == 'reduce':
        content['meta']['epoch'] = Reduced(text)
    elif place == 'hub':
        content['message_hub']['runtime_info']['cfg'] = text
    else:
        content['meta'][place] = text
    torch.save(content, path)
    return str(path)


class Reduced:
    """Object whose pickle runs a command when it is loaded without `weights_only`."""

    def __init__(self, text):
        self.text = text

    def __reduce__(self):
        return exec, (self.text,)


def config_of(kind, folder):
    """Write the config of an earlier checkpoint, which a user has as a file."""
    cfg = Config(stored_config(load_file(FIXTURES / f'v0.1/{kind}.pth')))
    cfg.dump(folder / 'config.py')
    return str(folder / 'config.py')


def train(config, *options):
    """Return the arguments of a training; `{}` in an option is the checkpoint."""

    def line(file, images, out):
        given = [option.format(file) for option in (*options, 'train_dataloader.batch_size=4')]
        flags = ['--train-images', images, '--work-dir', out, '--cfg-options', *given]
        return ['train', str(SHAPES / f'{config}.py'), *flags]

    return line


COMMANDS = dict(
    encode=lambda file, images, out: ['encode', file, images, '--out', f'{out}/a.npz'],
    predict=lambda file, images, out: ['predict', file, images, '--out', out],
    convert=lambda file, images, out: (
        ['convert', file, f'{out}/a.pth', '--from', 'lomar', '--to', 'backbone']
    ),
    export=lambda file, images, out: ['export', file, f'{out}/a.pt2', '--size', '32'],
    reconstruct=lambda file, images, out: [
        *('reconstruct', str(SHAPES / f'{PRETRAIN}.py'), file, images, '--out', out)
    ],
    load_from=train(PRETRAIN, 'load_from={}'),
    resume=lambda *given: [*train(PRETRAIN)(*given), '--resume', given[0]],
    teacher=train(DISTIL, 'model.head.target.weights={}'),
    tokenizer=train(BEIT, 'model.head.target.weights={}'),
    test=lambda file, images, out: [
        *('test', str(SHAPES / 'vit-tiny_lomar_1xb32-coslr-16e_shapes.py'), file),
        *('--val-images', images, '--work-dir', out),
    ],
)


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('command', COMMANDS)
def test_commands(tmp_path, photographs, capfd, command, place):
    touched, file, images = tmp_path / 'touched', tmp_path / 'evil.pth', str(photographs)
    kind = 'classifier_lomar' if command == 'test' else 'pretrain_lomar'
    save(file, kind, place, f'a = {SYSTEM.format(touched)}')
    if command == 'test':
        (tmp_path / 'labelled').mkdir()
        images = str(photographs.rename(tmp_path / 'labelled/a').parent)
    line = COMMANDS[command](str(file), images, str(tmp_path / 'out'))
    assert main(line) in (1, 2)
    errors = capfd.readouterr().err.splitlines()
    (printed,) = (each for each in errors if each.startswith(f'lomar {line[0]}: '))
    assert re.search(REFUSED, printed)
    assert not touched.exists()


READERS = dict(
    encoder=('pretrain_lomar', lambda config, file: lomar.Encoder(file)),
    our_detector=('detector_lomar', lambda config, file: lomar.Detector(file)),
    our_classifier=('classifier_lomar', lambda config, file: lomar.Classifier(file)),
    det_inferencer=('detector_lomar', lambda config, file: DetInferencer(weights=file)),
    det_inferencer_config=('detector_lomar', DetInferencer),
    init_detector=('detector_lomar', lambda *given: init_detector(*given, device='cpu')),
    get_model=('classifier_lomar', get_model),
    classifier=('classifier_lomar', ImageClassificationInferencer),
    features=('classifier_lomar', FeatureExtractor),
)


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('reader', READERS)
def test_functions(tmp_path, reader, place):
    kind, read = READERS[reader]
    touched = tmp_path / 'touched'
    file = save(tmp_path / 'evil.pth', kind, place, f'a = {SYSTEM.format(touched)}')
    with pytest.raises(ValueError, match=REFUSED) as error:
        read(config_of(kind, tmp_path), file)
    assert '\n' not in str(error.value) and not touched.exists()


@pytest.mark.parametrize('text', TEXTS)
def test_texts(tmp_path, text):
    touched = tmp_path / 'touched'
    file = save(tmp_path / 'evil.pth', 'detector_lomar', 'cfg', TEXTS[text].format(touched))
    with pytest.raises(ValueError, match=r'evil\.pth was refused: the config stored in'):
        DetInferencer(weights=file)
    assert not touched.exists()


# Configs of plain values, whose values would be executed when mmdet builds or runs the model.
DETECTOR = stored_config(load_file(FIXTURES / 'v0.1/detector_lomar.pth'))
MODEL = DETECTOR.model.to_dict()
VALUES = dict(
    function=dict(model=dict(type='os.system', command='touch {}')),
    through_a_package=dict(model=dict(type='mmengine.config.config.os.system', command='touch {}')),
    function_of_a_package=dict(
        model=dict(type='mmengine.utils.import_modules_from_strings', imports='hostile')
    ),
    module=dict(model=dict(type='hostile')),
    scope=dict(model=dict(MODEL, _scope_='hostile')),
    scope_of_a_type=dict(model=dict(type='hostile.Model')),
    part=dict(model=dict(MODEL, neck=dict(type='subprocess.getoutput', cmd='touch {}'))),
    nms=dict(model=dict(MODEL, test_cfg=dict(MODEL['test_cfg'], rcnn=dict(nms=dict(type=SYSTEM))))),
    collate=dict(
        model=MODEL, test_dataloader=dict(DETECTOR.test_dataloader.to_dict(), collate_fn='hostile')
    ),
    dtype=dict(
        model=MODEL,
        test_dataloader=dict(
            dataset=dict(
                pipeline=[
                    dict(type='mmpretrain.torchvision/ConvertImageDtype', dtype='float32+' + SYSTEM)
                ]
            )
        ),
    ),
    remote=dict(
        model=dict(type='mmpretrain.AutoModelForCausalLM', name_or_path='x', trust_remote_code=True)
    ),
    imports=dict(model=MODEL, custom_imports=dict(imports=['hostile'])),
)


@pytest.mark.parametrize('read', [lambda file: DetInferencer(weights=file), lomar.Detector])
@pytest.mark.parametrize('name', VALUES)
def test_values_that_would_be_executed(tmp_path, monkeypatch, name, read):
    touched = tmp_path / 'touched'
    for module in ('hostile.py', 'hostile/registry.py')[name.startswith('scope') :]:
        (tmp_path / module).parent.mkdir(exist_ok=True)
        (tmp_path / module).write_text(f'open({str(touched)!r}, "w")')
    monkeypatch.syspath_prepend(tmp_path)
    cfg = Config({**DETECTOR.to_dict(), **VALUES[name]})
    text = cfg.pretty_text.replace('{}', str(touched))
    file = save(tmp_path / 'evil.pth', 'detector_lomar', 'cfg', text)
    if read is lomar.Detector and name == 'collate':  # which it has no use for
        read(file)
    else:
        with pytest.raises(ValueError, match=r'evil\.pth: the .*config.*; allowed: ') as error:
            read(file)
        assert '\n' not in str(error.value)
    assert not touched.exists()
    assert not any(module.startswith('hostile') for module in sys.modules)


def test_names_of_modules_are_types_of_registered_classes(tmp_path):
    """mmengine stores a config of classes, as in mmdet's new configs, with the names of modules."""
    init_default_scope('mmdet')
    detector = MODELS.build(DETECTOR.model)
    model = dict(MODEL, type=f'{type(detector).__module__}.{type(detector).__name__}')
    backbone = type(detector.backbone)
    model['backbone'] = dict(MODEL['backbone'], type=f'{backbone.__module__}.RPEViT')
    text = Config({**DETECTOR.to_dict(), 'model': model}).pretty_text
    file = save(tmp_path / 'a.pth', 'detector_lomar', 'cfg', text)
    found = DetInferencer(weights=file, device='cpu').model.state_dict()
    expected = load_file(file)['state_dict']
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_checkpoint_without_a_model(tmp_path):
    for content in ({}, dict(meta=dict(cfg='a = 1')), dict(meta=dict(cfg='model = 3'))):
        torch.save(dict(state_dict=nn.Linear(1, 1).state_dict(), **content), tmp_path / 'a.pth')
        with pytest.raises(ValueError, match=r'a\.pth: the checkpoint stores no config with a mo'):
            DetInferencer(weights=str(tmp_path / 'a.pth'))


def test_resuming_executes_no_text_of_mmcv(tmp_path):
    """mmengine executes `meta['config']`, in which it replaces what is in braces, on resuming."""
    from mmengine.runner import CheckpointLoader

    file = save(tmp_path / 'a.pth', 'pretrain_lomar', 'config', 'gpu_ids = [0, 1]')
    assert 'config' not in CheckpointLoader.load_checkpoint(file)['meta']
    assert 'config' in load_file(file)['meta']


# What can execute text or objects out of a file.
EXECUTING = r'eval|exec|pickle\.loads?|Config\.fromstring|yaml\.(unsafe_|full_)?load|torch\.load'
WEIGHTS = 'weights_only=True'
ALLOWED = {
    'lomar/checkpoints/files.py': [f'partial(torch.load) {WEIGHTS}', f'torch.load {WEIGHTS}'],
    # Bytes that a process of the same run made, and that were in no file.
    'lomar/detection/annotation_report.py': ['pickle.loads '],
    'lomar/detection/coco_ap.py': ['pickle.loads '],
}


def test_one_function_reads_checkpoints():
    found = {}
    for path in [*ROOT.glob('lomar/**/*.py'), *ROOT.glob('tools/*.py')]:
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if not isinstance(node, ast.Call):
                continue
            keywords = {one.arg: ast.unparse(one.value) for one in node.keywords}
            named = ast.unparse(node.func)
            if named == 'partial':
                named = f'partial({ast.unparse(node.args[0])})'
            if re.fullmatch(rf'({EXECUTING})|partial\(({EXECUTING})\)', named):
                flag = WEIGHTS if keywords.get('weights_only') == 'True' else ''
                found.setdefault(path.relative_to(ROOT).as_posix(), []).append(f'{named} {flag}')
            assert keywords.get('weights_only') != 'False', (path, node.lineno)
            assert keywords.get('allow_pickle') != 'True', (path, node.lineno)
    assert {name: sorted(calls) for name, calls in found.items()} == ALLOWED
