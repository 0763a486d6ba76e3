"""Checkpoints from one project to another: names, numbers, and what is refused."""

import argparse
import os
import re

import pytest
import timm
import torch
from conftest import TINY_ARCH, randomised, tiny_lomar
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from safetensors.torch import load_file as load_safetensors
from torch import nn

import lomar.timm  # noqa: F401, registers the models
from lomar.checkpoints import from_official, load_file, names, verify
from lomar.checkpoints.convert import convert, convert_file
from lomar.checkpoints.files import misfit_as_value_error
from lomar.cli import main
from lomar.models import RPEViT

SIZES = dict(img_size=64, patch_size=8)


def classifier(head='LinearClsHead', **backbone):
    init_default_scope('mmpretrain')
    head = dict(type=head, num_classes=10, in_channels=48)
    return randomised(MODELS.build(dict(type='ImageClassifier', backbone=backbone, head=head)))


def mmpretrain_vit(out_type, head):
    arch = dict(embed_dims=48, num_layers=3, num_heads=3, feedforward_channels=96)
    norm = out_type == 'cls_token'
    settings = dict(type='VisionTransformer', arch=arch, out_type=out_type, final_norm=norm)
    return classifier(head, **settings, **SIZES)


def vit(**options):
    """timm's own vision transformer, which is also the original MAE's encoder."""
    arch = {**TINY_ARCH, **SIZES, 'num_classes': 0, **options}
    return randomised(timm.create_model('vit_small_patch16_224', **arch))


def original_mae():
    decoder = {'decoder_embed.weight': torch.ones(16, 48), 'mask_token': torch.ones(1, 1, 16)}
    return {**vit().state_dict(), **decoder, 'decoder_pos_embed': torch.ones(1, 65, 16)}


@pytest.fixture
def weights(official, mae):
    """Weights of a source by a short description."""
    ours = dict(type='RPEViT', arch=TINY_ARCH, out_type='avg_featmap', **SIZES)
    lomar_vit = dict(model_name='lomar_vit_small_patch16_224', num_classes=10)
    makers = {
        'official pretraining': lambda: official('official_pretrain_tiny.npz')[1],
        'official classifier': lambda: official('official_classify_tiny.npz')[1],
        'mae pretraining': original_mae,
        'mae classifier': lambda: vit(num_classes=10, global_pool='avg').state_dict(),
        'mmpretrain pretraining': mae.state_dict,
        'mmpretrain avg classifier': lambda: mmpretrain_vit(
            'avg_featmap', 'LinearClsHead'
        ).state_dict(),
        'mmpretrain cls classifier': lambda: mmpretrain_vit(
            'cls_token', 'VisionTransformerClsHead'
        ).state_dict(),
        'timm lomar': lambda: randomised(
            timm.create_model(**lomar_vit, **TINY_ARCH, **SIZES)
        ).state_dict(),
        'timm vit': lambda: vit(num_classes=10, mlp_ratio=2).state_dict(),
        'lomar pretraining': lambda: randomised(tiny_lomar()).state_dict(),
        'lomar maskfeat': lambda: randomised(
            tiny_lomar(head=dict(type='WindowHead', target=dict(type='HOGTarget')))
        ).state_dict(),
        'lomar classifier': lambda: classifier(**ours).state_dict(),
        'lomar backbone': lambda: randomised(
            RPEViT(TINY_ARCH, with_cls_token=False, **SIZES)
        ).state_dict(),
    }
    return lambda kind: makers[kind]()


@pytest.mark.parametrize(
    'kind, targets',
    [
        ('official pretraining', 'lomar backbone timm'),
        ('official classifier', 'backbone classifier timm'),
        ('mae pretraining', 'backbone timm'),
        ('mae classifier', 'backbone classifier timm'),
        ('mmpretrain pretraining', 'backbone timm'),
        ('mmpretrain avg classifier', 'backbone classifier timm'),
        ('mmpretrain cls classifier', 'backbone classifier timm'),
        ('timm lomar', 'backbone classifier timm'),
        ('timm vit', 'backbone classifier timm'),
        ('lomar pretraining', 'lomar backbone timm'),
        ('lomar maskfeat', 'lomar backbone timm'),
        ('lomar classifier', 'backbone classifier timm'),
        ('lomar backbone', 'backbone timm'),
    ],
)
def test_source_and_target_give_the_same_output(weights, kind, targets):
    before = weights(kind)
    for target in targets.split():
        conversion = convert(before, kind.split()[0], target, num_heads=3)
        assert conversion.becomes.keys() == before.keys()
        assert all(conversion.becomes.values())
        what = re.match(
            r'verified: (\w+).* largest difference (\S+) \(largest value (\S+)\)', conversion.check
        )
        outputs = dict(lomar='predictions', classifier='logits', timm='logits')
        if 'classifier' in kind and target != 'backbone':
            assert what[1] == outputs[target]
        assert float(what[2]) <= 1e-5 * float(what[3]) and float(what[3]) > 0.1


def test_a_wrong_name_map_does_not_pass(weights, monkeypatch):
    swapped = ((r'\.norm1\.', '.norm0.'), (r'\.norm2\.', '.norm1.'), (r'\.norm0\.', '.norm2.'))
    monkeypatch.setitem(names._FROM_TIMM, 'timm', swapped)
    with pytest.raises(ValueError, match='source and target do not agree: logits'):
        convert(weights('official classifier'), 'official', 'timm')


@pytest.mark.parametrize('scale', [1.0, 1e-3, 1e-6])
def test_the_tolerance_follows_the_size_of_the_output(weights, scale, monkeypatch):
    """A head starts at 2e-5, so that logits may be tiny and yet wrong in the third digit."""
    small = dict(weights('lomar classifier'))
    for name in ('weight', 'bias'):
        small[f'head.fc.{name}'] = scale * small[f'head.fc.{name}']
    assert convert(small, 'lomar', 'timm').check.startswith('verified: logits')
    built = verify._MODELS['timm']
    monkeypatch.setitem(
        verify._MODELS, 'timm', lambda *given: lambda images: built(*given)(images) * 1.001
    )
    with pytest.raises(ValueError, match='source and target do not agree: logits'):
        convert(small, 'lomar', 'timm')


def test_round_trips_are_exact(weights, tmp_path):
    def there_and_back(kind, source, target, middle):
        before = weights(kind)
        torch.save({'state_dict': before}, tmp_path / 'before.pth')
        convert_file(tmp_path / 'before.pth', tmp_path / 'middle.safetensors', source, middle, 3)
        convert_file(tmp_path / 'middle.safetensors', tmp_path / 'after.pth', middle, target, 3)
        after = load_file(tmp_path / 'after.pth')['state_dict']
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], value) for name, value in before.items())

    there_and_back('lomar classifier', 'lomar', 'classifier', 'timm')
    there_and_back('lomar backbone', 'lomar', 'backbone', 'timm')
    there_and_back('lomar pretraining', 'lomar', 'lomar', 'lomar')
    there_and_back('timm lomar', 'timm', 'timm', 'timm')
    there_and_back('timm vit', 'timm', 'timm', 'timm')


def test_class_names_stay_with_their_head(weights, tmp_path):
    names = dict(dataset_meta=dict(classes=tuple('abcdefghij')))
    content = dict(state_dict=weights('mmpretrain avg classifier'), meta=names)
    torch.save(content, tmp_path / 'named.pth')
    for target, expected in dict(classifier=names, backbone=None).items():
        out = tmp_path / f'{target}.pth'
        convert_file(tmp_path / 'named.pth', out, 'mmpretrain', target, 3)
        assert load_file(out).get('meta') == expected


def test_official_files_convert_like_from_official(weights):
    for kind, target, ours in (
        ('pretraining', 'lomar', 'pretrain'),
        ('pretraining', 'backbone', 'backbone'),
        ('classifier', 'classifier', 'classifier'),
    ):
        before = weights(f'official {kind}')
        after, expected = convert(before, 'official', target).weights, from_official(before, ours)
        assert after.keys() == expected.keys()
        assert all(after[name] is value for name, value in expected.items())


def test_half_precision_stays(weights):
    before = {name: value.half() for name, value in weights('official classifier').items()}
    conversion = convert(before, 'official', 'timm')
    assert {value.dtype for value in conversion.weights.values()} == {torch.float16}
    assert conversion.check.startswith('verified')


def test_detectron2(weights, tmp_path):
    before = weights('mae pretraining')
    torch.save(before, tmp_path / 'mae.pth')
    conversion = convert_file(tmp_path / 'mae.pth', tmp_path / 'd2.pth', 'mae', 'detectron2', 3)
    after = load_file(tmp_path / 'd2.pth')['model']
    parts = ('patch_embed.', 'blocks.', 'pos_embed')
    assert {name.removeprefix('backbone.net.') for name in after} == {
        name for name in before if name.startswith(parts)
    }
    assert after['backbone.net.pos_embed'].shape == (1, 65, 48)  # the cls token's is expected there
    assert 'not verified: detectron2 is not' in str(conversion)
    for kind in ('official pretraining', 'timm lomar', 'lomar classifier'):
        with pytest.raises(ValueError, match='detectron2 has no iRPE: its ViTDet knows'):
            convert(weights(kind), kind.split()[0], 'detectron2')


def test_an_unknown_number_of_heads_is_asked_for(weights):
    for target in ('timm', 'detectron2'):
        with pytest.raises(
            ValueError, match=r'width 48 and depth 3 .*: give num_heads .*--num-heads'
        ):
            convert(weights('mae pretraining'), 'mae', target)
    with pytest.raises(
        ValueError, match=r'\(--num-heads\) is 5; allowed: divisors of the width 48'
    ):
        convert(weights('mae pretraining'), 'mae', 'timm', num_heads=5)


def test_missing_extra_and_misshapen_are_all_named(weights, tmp_path):
    for kind in ('official pretraining', 'lomar pretraining'):
        before = weights(kind)
        prefix = 'backbone.' if kind.startswith('lomar') else ''
        del before[f'{prefix}blocks.1.mlp.fc1.weight']
        before[f'{prefix}blocks.2.attn.gate'] = torch.ones(4)
        before[f'{prefix}blocks.0.attn.qkv.weight'] = torch.ones(3, 48)
        path, out = tmp_path / 'damaged.pth', tmp_path / 'out.pth'
        torch.save({'model': before}, path)
        with pytest.raises(ValueError) as refused:
            convert_file(path, out, kind.split()[0], 'lomar')
        for line in (
            'damaged.pth',
            '3 weights do not fit',
            'missing: blocks.1.mlp.fc1.weight (192, 48)',
            f'without a place: {prefix}blocks.2.attn.gate (4,)',
            f'wrong shape: {prefix}blocks.0.attn.qkv.weight (3, 48); allowed: (144, 48)',
        ):
            assert line in str(refused.value)
        assert not out.exists()


def test_the_batch_norm_of_a_linear_probe_is_not_left_out(weights):
    probe = weights('lomar classifier') | {'neck.bn.running_mean': torch.ones(48)}
    for target in ('classifier', 'timm'):
        with pytest.raises(ValueError, match=r'without a place: neck\.bn\.running_mean'):
            convert(probe, 'lomar', target)


def test_weights_of_another_size_give_a_short_message():
    own = tiny_lomar().state_dict()
    four = {name: value.repeat(4, *[1] * (value.ndim - 1)) for name, value in own.items()}
    with pytest.raises(ValueError, match=r'and \d\d more') as refused, misfit_as_value_error():
        tiny_lomar().load_state_dict(four)
    assert str(refused.value).count('\n') == 6


def test_what_does_not_serve_is_refused(weights, tmp_path):
    pretraining, classes = weights('official pretraining'), weights('official classifier')
    with pytest.raises(ValueError, match=r'--to lomar needs a LoMaR pretraining model.*10 classes'):
        convert(classes, 'official', 'lomar')
    with pytest.raises(ValueError, match=r'--to lomar needs .*absolute positions'):
        convert(weights('mae pretraining'), 'mae', 'lomar', num_heads=3)
    with pytest.raises(ValueError, match=r'--to classifier needs a classification head'):
        convert(pretraining, 'official', 'classifier')
    with pytest.raises(ValueError, match=r"not those of 'mae' .*; try --from official"):
        convert(pretraining, 'mae', 'backbone')
    with pytest.raises(ValueError, match='no known source has them'):
        convert(nn.Linear(2, 2).state_dict(), 'timm', 'backbone')
    with pytest.raises(ValueError, match=r'(?s)do not fit the model: .*"head\.weight"'):
        convert(classes, 'lomar', 'backbone')
    twice = {**weights('lomar classifier'), 'head.weight': torch.ones(10, 48)}
    with pytest.raises(ValueError, match=r'without a place: head\.weight \(10, 48\)'):
        convert(twice, 'lomar', 'timm')
    torch.save({'model': classes}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r"ends in '\.onnx'; allowed: \.pth, "):
        convert_file(tmp_path / 'a.pth', tmp_path / 'a.onnx', 'official', 'timm')
    with pytest.raises(ValueError, match='is the source itself'):
        convert_file(tmp_path / 'a.pth', tmp_path / 'a.pth', 'official', 'timm')
    torch.save({'epoch': 3}, tmp_path / 'b.pth')
    with pytest.raises(ValueError, match=r'b\.pth.*: holds no tensors under epoch'):
        convert_file(tmp_path / 'b.pth', tmp_path / 'c.pth', 'official', 'timm')


def stored(path, **settings):
    """Write a LoMaR checkpoint with a stored config."""
    model = tiny_lomar()
    cfg = Config(dict(model=dict(type='LoMaR', backbone=dict(type='LoMaRViT', **settings))))
    cfg.model.data_preprocessor = dict(mean=[10, 20, 30], std=[5, 6, 7])
    meta = dict(cfg=cfg.pretty_text)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)


def test_settings_that_a_new_file_lacks_are_named(tmp_path, weights, capsys):
    stored(tmp_path / 'a.pth', arch=TINY_ARCH)
    line = [
        'convert',
        tmp_path / 'a.pth',
        tmp_path / 'b.pth',
        '--from',
        'lomar',
        '--to',
        'backbone',
    ]
    assert main([*map(str, line)]) == 0
    said = capsys.readouterr().out
    assert 'note: the new file does not contain mean=[10, 20, 30] and std=[5, 6, 7]' in said
    classes = dict(dataset_meta=dict(classes=[*'abcdefghij']))
    torch.save(dict(state_dict=weights('lomar classifier'), meta=classes), tmp_path / 'c.pth')
    for suffix, target, notes in (
        ('.pth', 'classifier', 0),
        ('.safetensors', 'classifier', 1),
        ('.pth', 'timm', 1),
        ('.pth', 'backbone', 0),  # which has no classes
    ):
        out = tmp_path / f'{target}{suffix}'
        done = convert_file(tmp_path / 'c.pth', out, 'lomar', target)
        assert sum('does not contain the class names' in note for note in done.notes) == notes


@pytest.mark.parametrize('rpe', [dict(ratio=1.6), dict(method='quant')])
def test_other_positions_of_a_stored_config_are_refused(rpe, tmp_path):
    """Weights of several ratios have the same shapes."""
    stored(tmp_path / 'a.pth', arch=TINY_ARCH, rpe=rpe)
    with pytest.raises(ValueError, match=r'the weights were trained with iRPE of .*; allowed: '):
        convert_file(tmp_path / 'a.pth', tmp_path / 'b.pth', 'lomar', 'backbone')


def test_the_command_reads_arguments_and_runs_nothing(weights, tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "trace"}',)

    path, out = tmp_path / 'checkpoint-399.pth', tmp_path / 'timm.safetensors'
    arguments = argparse.Namespace(model='mae_vit_base_patch16', mask_ratio=0.8, resume='')
    content = dict(
        model=weights('official pretraining'), args=arguments, optimizer=dict(state={}), epoch=399
    )
    torch.save(content, path)
    command = ['convert', str(path), str(out), '--from', 'official', '--to', 'timm']
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "arguments of the training run: mask_ratio=0.8, model='mae_vit_base_patch16'" in printed
    assert re.search(r'1 x  pos_embed +\(the original code never adds it\)', printed)
    assert re.search(r'3 x  blocks\.\*\.attn\.qkv\.weight +blocks\.\*\.attn\.qkv\.weight', printed)
    assert '44 matched, 0 renamed, 4 left out' in printed
    assert 'verified: tokens of one image of 56 x 72' in printed
    assert torch.equal(load_safetensors(out)['norm.weight'], content['model']['norm.weight'])
    # Without classes and with the norm on the tokens, the file is the whole model.
    settings = dict(num_classes=0, fc_norm=False, checkpoint_path=str(out), **TINY_ARCH, **SIZES)
    assert timm.create_model('lomar_vit_small_patch16_224', **settings).embed_dim == 48

    out.unlink()
    arguments.resume = Trap()
    torch.save(content, path)
    assert main(command) == 1
    assert re.search(r'checkpoint-399\.pth was refused.*could run code', capsys.readouterr().err)
    assert not out.exists() and not (tmp_path / 'trace').exists()
