"""One answer from every reader of checkpoints, whatever a file has around its weights."""

import pickle
import sys
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from conftest import TINY_ARCH, randomised, tiny_lomar
from mmengine.registry import MODELS, init_default_scope
from torch import nn

import lomar
import lomar.timm
from lomar.checkpoints import architecture, from_official, load_file, names, rename, unwrap
from lomar.checkpoints.architecture import read_architecture
from lomar.checkpoints.convert import convert, convert_file
from lomar.engine.runner import Runner
from lomar.models import RPEViT
from lomar.targets import teacher

SIZES = dict(img_size=64, patch_size=8)
DIALECTS = ('official', 'mae', 'mmpretrain', 'timm', 'lomar')


def under(prefix, weights):
    return {prefix + name: value for name, value in weights.items()}


def zeros(weights):
    return {name: torch.zeros(()).expand(value.shape) for name, value in weights.items()}


WRAPPERS = dict(
    nothing=lambda w: w,
    mmengine=lambda w: dict(state_dict=w, meta=dict(epoch=1), message_hub={}),
    original=lambda w: dict(model=w, args=Namespace(lr=1), epoch=3),
    deepspeed=lambda w: dict(module=w),
    nested=lambda w: dict(model=dict(module=dict(state_dict=w))),
    average=lambda w: dict(state_dict_ema=w),
    both=lambda w: dict(state_dict_ema=zeros(w), model_ema=zeros(w), state_dict=w),
    inside=lambda w: dict(model=dict(state_dict=w, model_ema=zeros(w))),
    hook=lambda w: dict(state_dict=w, ema_state_dict=under('module.', zeros(w))),
)
PREFIXES = (
    '',
    'module.',
    'model.',
    'backbone.',
    'encoder.',
    '_orig_mod.',
    'module._orig_mod.',
    '_orig_mod.module.model.encoder.',
    'model.backbone.timm_model.',
)


@pytest.fixture(scope='session')
def dialects():
    """Weights of every project."""
    init_default_scope('mmpretrain')
    arch = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=192)
    theirs = MODELS.build(dict(type='VisionTransformer', arch=arch, out_type='raw', **SIZES))
    vit = timm.create_model('vit_tiny_patch16_224', num_classes=0, **TINY_ARCH, **SIZES)
    decoder = {'decoder_embed.weight': torch.ones(16, 48), 'mask_token': torch.ones(1, 1, 16)}
    decoder |= {f'decoder_blocks.{i}.norm1.weight': torch.ones(16) for i in range(20)}
    ours = randomised(tiny_lomar()).state_dict()
    official = {
        name.replace('head.pred.', 'encoder_pred.').removeprefix('backbone.'): value
        for name, value in ours.items()
    }
    return dict(
        official={**official, 'pos_embed': torch.ones(1, 65, 48)},
        mae=randomised(vit).state_dict() | decoder,
        mmpretrain=under('backbone.', randomised(theirs).state_dict()),
        timm=randomised(
            timm.create_model('lomar_vit_small_patch16_224', num_classes=7, **TINY_ARCH, **SIZES)
        ).state_dict(),
        lomar=ours,
    )


def network(source, weights):
    """Return a backbone for the weights of a source and a function that returns its weights."""
    position = 'absolute' if source in ('mae', 'mmpretrain') else 'irpe'
    return RPEViT(
        TINY_ARCH, position=position, final_norm='norm.weight' in rename(weights), **SIZES
    )


def by_encoder(path, source, backbone):
    return lomar.Encoder(path, 'cpu', num_heads=3).backbone


def load_by_runner(path, model, train_loop=1):
    """Load as a training run does and return the calls of hooks."""
    runner, calls = Runner.__new__(Runner), []
    runner.cfg, runner.model, runner._resume, runner._train_loop = {}, model, False, train_loop
    runner.logger = SimpleNamespace(info=lambda line: None, warning=lambda line: None)
    runner.call_hook = lambda *name, **given: calls.append((*name, given))
    runner.load_checkpoint(str(path))
    return calls


def by_runner(path, source, backbone):
    model = nn.Module()
    model.backbone = backbone
    load_by_runner(path, model)
    return backbone


def by_teacher(path, source, backbone):
    teacher._load(backbone, str(path))
    return backbone


def by_converter(path, source, backbone):
    conversion = convert_file(path, path.with_name('out.pth'), source, 'backbone', 3)
    assert conversion.check.startswith('verified')
    kept = {k: v for k, v in conversion.weights.items() if k in backbone.state_dict()}
    backbone.load_state_dict(kept)
    return backbone


READERS = (by_encoder, by_runner, by_teacher, by_converter)


@pytest.mark.parametrize('source', DIALECTS)
@pytest.mark.parametrize('prefix', PREFIXES)
def test_every_reader_gives_the_same_weights(dialects, tmp_path, source, prefix):
    plain = dialects[source]
    expected = {
        name: value
        for name, value in rename(plain).items()
        if name.startswith(('blocks.', 'patch_embed.', 'cls_token', 'norm.'))
    }
    assert len(expected) > 36
    weights = under(prefix, plain)
    for kind, wrap in WRAPPERS.items():
        read = rename(unwrap(wrap(weights)))
        assert read.keys() == rename(plain).keys(), kind
        assert all(torch.equal(read[name], value) for name, value in expected.items()), kind
    for number, reader in enumerate(READERS):
        # With the nine prefixes, every reader comes to every wrapper.
        wrap = list(WRAPPERS.values())[(number + PREFIXES.index(prefix)) % len(WRAPPERS)]
        torch.save(wrap(weights), tmp_path / 'in.pth')
        found = reader(tmp_path / 'in.pth', source, network(source, plain)).state_dict()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_heads_of_a_model_stay_beside_a_prefixed_backbone(dialects):
    """DDP and Lightning wrap the whole model: `module.backbone.*` beside `module.head.*`."""
    for prefix in ('module.', 'model.', 'model.encoder.'):
        weights = under(prefix, dialects['lomar']) | {'loss.scale': torch.ones(1)}
        found = from_official(weights, 'pretrain')
        assert found.keys() - {'backbone.loss.scale'} == dialects['lomar'].keys()


def test_converted_files_of_every_wrapper_equal(dialects, tmp_path):
    for source, target in (('official', 'lomar'), ('timm', 'classifier'), ('lomar', 'timm')):
        expected = convert(dialects[source], source, target).weights
        for prefix in PREFIXES:
            found = convert(under(prefix, dialects[source]), source, target)
            assert found.check.startswith('verified'), (source, prefix)
            assert found.weights.keys() == expected.keys()
            assert all(torch.equal(found.weights[k], v) for k, v in expected.items())


def test_a_teacher_of_mmpretrain_or_timm_takes_every_project(dialects, tmp_path):
    arch = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=192)
    settings = [
        dict(type='VisionTransformer', arch=arch, out_type='featmap', **SIZES),
        dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224', **TINY_ARCH, **SIZES),
    ]
    for setting in settings:
        for source in ('mae', 'mmpretrain'):
            torch.save(dialects[source], tmp_path / 'a.pth')
            filled = MODELS.build(setting)
            teacher._load(filled, str(tmp_path / 'a.pth'))
            found, expected = rename(filled.state_dict()), rename(dialects[source])
            assert found.keys() <= expected.keys()
            assert all(torch.equal(value, expected[name]) for name, value in found.items())


def encoder_of(weights, tmp_path, **given):
    torch.save(weights, tmp_path / 'in.pth')
    return lomar.Encoder(tmp_path / 'in.pth', 'cpu', **given)


def plain_vit(arch=TINY_ARCH, size=64, patch=8, **settings):
    return zeros(RPEViT(arch, size, patch, **{'position': 'absolute', **settings}).state_dict())


def eight_heads():
    """A ViT-base's width, another depth, and 8 heads: the shapes are those of 12 heads."""
    return plain_vit(dict(embed_dim=768, depth=2, num_heads=8), 32, 16)


def changed(weights, **values):
    return weights | {name.replace('__', '.'): value for name, value in values.items()}


@pytest.mark.parametrize(
    ('make', 'given', 'message'),
    [
        (eight_heads, {}, r'no standard model has width 768 and depth 2 .*: give num_heads'),
        (plain_vit, dict(num_heads=5), r'num_heads .* is 5; allowed: divisors of the width 48'),
        (lambda: plain_vit(size=(32, 64)), dict(num_heads=3), 'pos_embed has 32 places'),
        (
            lambda: {k: v for k, v in plain_vit().items() if k != 'pos_embed'},
            dict(num_heads=3),
            'the weights have no positions',
        ),
        (
            lambda: plain_vit() | {names.PATCHES: torch.zeros(48, 3, 8, 16)},
            dict(num_heads=3),
            r'has the shape \(48, 3, 8, 16\); allowed: \(D, C, P, P\)',
        ),
        (
            lambda: (
                under('backbone.', plain_vit(final_norm=False))
                | {'neck.0.weight': torch.zeros(1), 'roi_head.fc.weight': torch.zeros(1)}
            ),
            dict(num_heads=3),
            'the weights of a detector',
        ),
        (
            lambda: plain_vit(position='absolute+decomposed', with_cls_token=False),
            dict(num_heads=3),
            'the weights have decomposed positions',
        ),
        (
            lambda: under('student.', plain_vit()),
            {},
            r'are under student\.; allowed: no prefix or one of backbone, encoder, model, module',
        ),
        (
            lambda: under('backbone.net.', plain_vit()),
            {},
            r'are under backbone\.net\.; allowed: no prefix',
        ),
        (
            lambda: under('teacher.', plain_vit()) | under('student.', plain_vit()),
            {},
            r'are under student\., teacher\.; allowed',
        ),
    ],
)
def test_encoder_and_converter_refuse_with_one_sentence(tmp_path, make, given, message):
    weights, said = make(), []
    for read in (
        lambda: encoder_of(weights, tmp_path, **given),
        lambda: convert(weights, 'lomar', 'backbone', **given),
    ):
        with pytest.raises(ValueError, match=message) as refused:
            read()
        said.append(str(refused.value).split('in.pth: ')[-1])
    assert said[0] == said[1]


def test_the_heads_of_a_named_architecture_are_logged(monkeypatch):
    lines = []
    monkeypatch.setattr(architecture, 'print_log', lambda line, **_: lines.append(line))
    tiny = plain_vit('tiny', 32, 16)
    assert read_architecture(tiny).backbone['arch']['num_heads'] == 3
    assert (
        len(lines) == 1 and 'has 3 heads, as a ViT-tiny of its width 192 and depth 12' in lines[0]
    )
    assert read_architecture(tiny, num_heads=6).backbone['arch']['num_heads'] == 6
    tables = plain_vit('tiny', 32, 16, position='irpe')
    assert read_architecture(tables).backbone['arch']['num_heads'] == 3
    assert len(lines) == 1


def test_options_of_irpe_convert_where_the_target_has_them(tmp_path):
    model = randomised(RPEViT(TINY_ARCH, rpe=dict(mode='bias', shared_heads=False), **SIZES))
    weights = under('backbone.', model.state_dict())
    found = convert(weights, 'lomar', 'backbone')
    assert found.check.startswith('verified') and found.weights.keys() == model.state_dict().keys()
    with pytest.raises(ValueError, match=r"iRPE with .*'mode': 'bias'.*--to timm allows"):
        convert(weights, 'lomar', 'timm')


@pytest.mark.parametrize(
    'content',
    [
        [],
        [torch.ones(1)],
        torch.ones(1),
        None,
        {},
        dict(state_dict={}),
        dict(model=dict(state_dict={})),
        dict(state_dict=[1]),
        {0: torch.ones(1)},
        dict(state_dict={'a': np.ones(1)}),
    ],
)
def test_every_reader_names_a_file_without_weights(tmp_path, content):
    path = tmp_path / 'in.pth'
    torch.save(content, path)
    for reader in READERS:
        with pytest.raises(ValueError, match=r'in\.pth.*: holds no .*; allowed: a state dict'):
            reader(path, 'lomar', nn.Linear(1, 1))


def test_the_converter_takes_the_average_on_request(dialects, tmp_path):
    path, out = tmp_path / 'in.pth', tmp_path / 'out.pth'
    torch.save(dict(model=zeros(dialects['timm']), model_ema=dialects['timm']), path)
    plain = convert_file(path, out, 'timm', 'timm')
    assert not any(value.any() for value in plain.weights.values())
    average = convert_file(path, out, 'timm', 'timm', weights='ema').weights
    assert all(torch.equal(average[k], v) for k, v in dialects['timm'].items())


@pytest.mark.parametrize(
    ('content', 'line'),
    [
        (dict(state_dict={}, state_dict_ema={}), 'the plain weights load'),
        (dict(model=dict(state_dict={}, model_ema={})), 'the plain weights load'),
        (dict(state_dict_ema={}), 'the moving average of the weights only'),
        (dict(state_dict={}, ema_state_dict={}), 'the moving average of the weights only'),
        (dict(state_dict={}), None),
    ],
)
def test_one_line_says_which_of_two_weights_load(monkeypatch, content, line):
    lines, module = [], sys.modules[unwrap.__module__]
    monkeypatch.setattr(module, 'print_log', lambda text, **_: lines.append(text))
    with pytest.raises(ValueError, match='holds no state dict'):
        unwrap(content)
    assert len(lines) == (line is not None) and all(line in text for text in lines)


def test_two_weights_of_one_name_are_refused():
    weights = plain_vit() | {'layers.0.ln1.weight': torch.zeros(48)}
    with pytest.raises(ValueError, match=r"layers\.0\.ln1\.weight is a second weight with timm's"):
        rename(weights)


def test_a_run_that_tests_reads_like_one_that_trains(dialects, tmp_path):
    path = tmp_path / 'in.pth'
    for wrap in WRAPPERS.values():
        model = tiny_lomar()
        torch.save(wrap(under('module._orig_mod.', dialects['lomar'])), path)
        load_by_runner(path, model, train_loop=None)
        assert all(torch.equal(v, dialects['lomar'][k]) for k, v in model.state_dict().items())
    torch.save({k: v for k, v in dialects['lomar'].items() if k != 'backbone.norm.bias'}, path)
    with pytest.raises(ValueError, match=r'(?s)in\.pth: the weights do not fit.*norm\.bias'):
        load_by_runner(path, tiny_lomar(), train_loop=None)


def test_a_moving_average_starts_from_the_loaded_weights(dialects, tmp_path):
    """mmengine's EMAHook copies what this hook call hands over; it was built before."""
    torch.save(dialects['official'], tmp_path / 'in.pth')
    model = tiny_lomar()
    ((name, given),) = load_by_runner(tmp_path / 'in.pth', model)
    assert name == 'after_load_checkpoint'
    state = given['checkpoint']['state_dict']
    assert state.keys() == model.state_dict().keys()
    assert torch.equal(state['backbone.norm.bias'], dialects['official']['norm.bias'])


@pytest.mark.parametrize('protocol', [2, 4])
def test_pickles_of_detectron2_are_refused(tmp_path, protocol):
    content = {'model': {'backbone.net.cls_token': np.ones(3)}, '__author__': 'someone'}
    path = tmp_path / 'model_final_61ccd1.pkl'
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(
        ValueError, match=r"61ccd1\.pkl was refused: it is not .*detectron2's \.pkl"
    ):
        load_file(path)
