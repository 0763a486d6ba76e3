"""Models that are built from a checkpoint alone."""

import pytest
import torch
from conftest import FIXTURES, tiny_lomar

from lomar.checkpoints import load_file, trained_model
from lomar.checkpoints.config_reader import stored_config

V01 = FIXTURES / 'v0.1'
KINDS = dict(
    detector_lomar='detector',
    detector_mae='detector',
    classifier_lomar='classifier',
    classifier_mae='classifier',
    pretrain_lomar='pretraining',
    pretrain_mae='pretraining',
)


@pytest.mark.parametrize('name', KINDS)
def test_model_of_a_checkpoint(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # the stored config names files that are not here
    found = trained_model(V01 / f'{name}.pth', device='cpu')
    stored = load_file(V01 / f'{name}.pth')
    assert found.kind == KINDS[name] and not found.model.training
    assert found.config == stored_config(stored)
    names = () if found.kind == 'pretraining' else stored['meta']['dataset_meta']['classes']
    assert found.classes == tuple(names)
    assert [found.name(label) for label in range(len(names))] == list(names)
    assert found.name(1000) == '1000'
    weights = found.model.state_dict()
    assert weights.keys() == stored['state_dict'].keys()
    assert all(torch.equal(weights[key], value) for key, value in stored['state_dict'].items())


def changed(path, change, name='detector_lomar'):
    content = load_file(V01 / f'{name}.pth')
    change(content)
    torch.save(content, path)
    return path


def test_moving_average(tmp_path):
    def add(content):
        average = {key: value + 1 for key, value in content['state_dict'].items()}
        content['state_dict_ema'] = average

    path = changed(tmp_path / 'a.pth', add)
    key = 'backbone.patch_embed.proj.bias'
    plain, ema = (
        trained_model(path, weights, 'cpu').model.state_dict()[key] for weights in ('plain', 'ema')
    )
    assert torch.equal(plain + 1, ema)


@pytest.mark.parametrize(
    'target',
    [
        dict(type='TeacherTarget', weights='gone.pth', stride=8),
        dict(type='TokenTarget', weights='gone.pth'),
    ],
)
def test_other_files_of_a_pretraining_are_not_read(target, tmp_path):
    """A teacher and a tokenizer compute targets; their weights are not in the checkpoint."""
    config = stored_config(load_file(V01 / 'pretrain_lomar.pth'))
    if target['type'] == 'TeacherTarget':
        config.model.head = dict(
            type='WindowHead',
            target=dict(
                target,
                teacher=dict(
                    type='RPEViT',
                    arch=dict(embed_dim=16, depth=1, num_heads=2),
                    img_size=64,
                    patch_size=8,
                    out_type='featmap',
                ),
            ),
        )
        values = 16
    else:
        config.model.head = dict(
            type='WindowHead',
            target=dict(target, tokenizer=dict(type='PatchTokenizer', vocabulary=32)),
        )
        values = 32

    def change(content):
        content['meta']['cfg'] = f'model = {config.model.to_dict()!r}\n'
        content['state_dict']['head.pred.weight'] = torch.zeros(values, 16)
        content['state_dict']['head.pred.bias'] = torch.zeros(values)

    path = changed(tmp_path / 'a.pth', change, 'pretrain_lomar')
    assert trained_model(path, device='cpu').model.head.pred.out_features == values


def without_config(content):
    del content['meta']['cfg'], content['message_hub']


def with_text(text):
    def change(content):
        content['meta']['cfg'] = text

    return change


def without_a_weight(content):
    del content['state_dict']['backbone.patch_embed.proj.bias']


WRONG = dict(
    no_config=(without_config, 'stores no config with a model'),
    no_model=(with_text('a = 1'), 'stores no config with a model'),
    function=(with_text("model = dict(type='os.system', command='x')"), "type 'os.system'"),
    unknown=(
        with_text("model = dict(type='Nothing')"),
        "type 'Nothing'; allowed: classes that are",
    ),
    argument=(with_text("model = dict(type='LoMaR', a=1)"), 'cannot be built: '),
    part=(
        with_text("model = dict(type='RPEViT', arch='tiny')"),
        'cannot be built|weights do not fit',
    ),
    missing=(without_a_weight, 'Missing key'),
)


@pytest.mark.parametrize('case', WRONG)
def test_refused(case, tmp_path):
    change, reason = WRONG[case]
    path = changed(tmp_path / 'a.pth', change)
    with pytest.raises(ValueError, match=reason) as error:
        trained_model(path, device='cpu')
    assert str(path) in str(error.value)


def test_bare_weights(tmp_path):
    torch.save(tiny_lomar().state_dict(), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match='no config with a model; allowed: a checkpoint of a tra'):
        trained_model(tmp_path / 'a.pth')


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'a\.pth does not exist'):
        trained_model(tmp_path / 'a.pth')
