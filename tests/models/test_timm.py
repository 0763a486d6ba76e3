"""LoMaR's models as timm's: the original code's numbers, and what timm expects of a model."""

import pytest
import timm
import torch
from conftest import TINY_ARCH, randomised
from timm.models._features_fx import create_feature_extractor
from timm.optim import param_groups_layer_decay
from torch import nn

import lomar.timm  # noqa: F401  (registers)
from lomar.checkpoints import from_official, transfer_backbone
from lomar.models import RPEViT

NAME = 'lomar_vit_small_patch16_224'


def tiny(**options):
    settings = dict(img_size=64, patch_size=8, num_classes=10, **TINY_ARCH)
    return randomised(timm.create_model(NAME, **{**settings, **options})).eval()


def images(height=64, width=64, number=2):
    return torch.randn(number, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_equals_the_original_code(official, tmp_path):
    arrays, weights, gradients = official('official_classify_tiny.npz')
    path = tmp_path / 'tiny.pth'
    torch.save({'state_dict': weights}, path)
    settings = dict(patch_size=8, checkpoint_path=str(path), num_classes=10, **TINY_ARCH)
    model = timm.create_model(NAME, img_size=64, **settings)
    features = model.forward_head(model.forward_features(arrays['images']), pre_logits=True)
    torch.testing.assert_close(features, arrays['features'], atol=1e-5, rtol=1e-5)
    logits = model(arrays['images'])
    torch.testing.assert_close(logits, arrays['logits'], atol=1e-5, rtol=1e-5)
    logits.square().mean().backward()
    assert len(gradients) == 5
    for name, expected in gradients.items():
        actual = model.get_parameter(name).grad
        assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max(), name
    # iRPE has no size, so a file loads at every one.
    assert timm.create_model(NAME, img_size=(48, 80), **settings)(images(48, 80)).shape == (2, 10)


def test_names_and_numbers_are_those_of_the_backbone():
    backbone = randomised(RPEViT(TINY_ARCH, 64, 8, out_type='avg_featmap')).eval()
    model = tiny(num_classes=0)
    assert model.state_dict().keys() == backbone.state_dict().keys()
    model.load_state_dict(backbone.state_dict())
    for size in ((64, 64), (24, 72), (128, 40)):
        model.set_input_size(size)
        batch = images(*size)
        torch.testing.assert_close(model(batch), backbone(batch)[0], atol=1e-5, rtol=1e-5)
    dynamic = tiny(num_classes=0, dynamic_img_size=True)
    dynamic.load_state_dict(backbone.state_dict())
    torch.testing.assert_close(dynamic(batch), backbone(batch)[0], atol=1e-5, rtol=1e-5)


def test_pretrained_weights_transfer_with_a_report(official):
    _, weights, _ = official('official_pretrain_tiny.npz')
    model = tiny()
    report = transfer_backbone(weights, model, allow=['head.*'])
    assert report.missing == ['fc_norm.weight', 'fc_norm.bias', 'head.weight', 'head.bias']
    expected = from_official(weights, 'backbone')['blocks.2.attn.rpe_k.lookup_table_weight']
    assert torch.equal(model.blocks[2].attn.rpe_k.lookup_table_weight, expected)


def test_every_name_is_registered_and_sized():
    names = {
        f'lomar_vit_{a}_patch16_{s}' for a in ('small', 'base', 'large') for s in (224, 384, 448)
    }
    assert set(timm.list_models('lomar_vit_*')) == names
    widths = dict(small=(384, 12), base=(768, 12), large=(1024, 24))
    for name in names:
        with torch.device('meta'):
            model = timm.create_model(name)
        size = int(name[-3:])
        assert model.patch_embed.img_size == (size, size)
        assert model.default_cfg['input_size'] == (3, size, size)
        assert (model.embed_dim, len(model.blocks)) == widths[name.split('_')[2]]
        assert model.blocks[0].attn.rpe_k.lookup_table_weight.shape == (1, 64, 50)


def test_classifier_contract():
    model = tiny().train()
    model(images()).mean().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.get_classifier().weight.shape == (10, 48)
    for name in (model.default_cfg['classifier'], model.default_cfg['first_conv']):
        assert f'{name}.weight' in model.state_dict()
    model.eval()
    assert model.forward_features(images()).shape == (2, 65, 48)
    model.reset_classifier(7)
    assert model(images()).shape == (2, 7)
    model.reset_classifier(0)
    assert model(images()).shape == (2, 48)
    model.reset_classifier(0, '')
    assert model(images()).shape == (2, 65, 48)


def test_features_contract():
    model, batch = tiny(), images(48, 80)
    model.set_input_size((48, 80))
    final, maps = model.forward_intermediates(batch)
    torch.testing.assert_close(final, model.forward_features(batch))
    assert [tuple(m.shape) for m in maps] == [(2, 48, 6, 10)] * 3
    tokens = final[:, 1:].transpose(1, 2).unflatten(2, (6, 10))
    torch.testing.assert_close(maps[-1], tokens)
    net = timm.create_model(
        NAME, features_only=True, out_indices=(0, 2), img_size=(48, 80), patch_size=8, **TINY_ARCH
    ).eval()
    assert net.feature_info.channels() == [48, 48] and net.feature_info.reduction() == [8, 8]
    missing = net.model.load_state_dict(model.state_dict(), strict=False)
    assert missing.missing_keys == []
    for actual, expected in zip(net(batch), (maps[0], maps[2]), strict=True):
        torch.testing.assert_close(actual, expected)
    nodes = create_feature_extractor(model, {'blocks.1': 'block', 'head': 'logits'})(batch)
    torch.testing.assert_close(nodes['logits'], model(batch))
    assert model.prune_intermediate_layers([0, 1]) == [0, 1] and len(model.blocks) == 2
    assert isinstance(model.fc_norm, nn.Identity) and isinstance(model.head, nn.Identity)
    torch.testing.assert_close(model.forward_intermediates(batch, [1])[1][0], maps[1])


def test_training_contract():
    model = tiny().train()
    assert 'cls_token' in model.no_weight_decay()
    groups = param_groups_layer_decay(
        model, layer_decay=0.5, no_weight_decay_list=model.no_weight_decay()
    )
    scales = {id(p): group['lr_scale'] for group in groups for p in group['params']}
    layers = {'cls_token': 4, 'patch_embed.proj.weight': 4, 'fc_norm.bias': 0, 'head.weight': 0}
    layers |= {f'blocks.{i}.attn.rpe_k.lookup_table_weight': 3 - i for i in range(3)}
    for name, depth in layers.items():
        assert scales[id(model.get_parameter(name))] == 0.5**depth, name
    plain = torch.autograd.grad(model(images()).square().mean(), list(model.parameters()))
    model.set_grad_checkpointing()
    again = torch.autograd.grad(model(images()).square().mean(), list(model.parameters()))
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other)


def test_weights_are_initialised_after_the_meta_device():
    with torch.device('meta'):
        model = timm.create_model(NAME, patch_size=8, img_size=64, **TINY_ARCH)
    model.to_empty(device='cpu')
    for parameter in model.parameters():
        nn.init.constant_(parameter, float('nan'))
    model.init_weights()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    assert model.blocks[0].attn.rpe_k.lookup_table_weight.abs().max() == 0


@pytest.mark.parametrize('kind', ['classifier', 'features'])
def test_exported_programs_agree(kind):
    # A grid of its own: the tables of a cold cache must not be those of the exporter.
    batch = images(40, 72 if kind == 'classifier' else 56)
    options = dict(features_only=True) if kind == 'features' else {}
    model = timm.create_model(
        NAME, img_size=tuple(batch.shape[-2:]), patch_size=8, **TINY_ARCH, **options
    )
    randomised(model).eval()
    batches = torch.export.Dim('batch', min=1, max=16)
    program = torch.export.export(model, (batch,), dynamic_shapes=({0: batches},))
    more = images(*batch.shape[-2:], number=5)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(more), model(more), atol=1e-4, rtol=1e-4)


def test_what_the_positions_cannot_follow_is_refused():
    for option in (dict(reg_tokens=4), dict(patch_drop_rate=0.5), dict(qk_norm=True)):
        with pytest.raises(ValueError, match=rf'{next(iter(option))} is .*; lomar_vit_\* allow: '):
            tiny(**option)
    with pytest.raises(ValueError, match='attn_mask or is_causal is set'):
        tiny().blocks[0].attn(torch.ones(2, 65, 48), is_causal=True)
    model = tiny(dynamic_img_size=True).train()
    model.set_grad_checkpointing()
    with pytest.raises(ValueError, match='use set_input_size'):
        model(images())


def test_checkpoint_path_refuses_weights_that_are_no_numbers(tmp_path):
    small = dict(embed_dim=48, depth=2, num_heads=3, num_classes=3)
    weights = timm.create_model('lomar_vit_small_patch16_224', **small).state_dict()
    weights['fc_norm.bias'][0] = float('nan')
    torch.save(weights, tmp_path / 'in.pth')
    with pytest.raises(ValueError, match=r'fc_norm\.bias has 1 NaN or infinite numbers of 48'):
        timm.create_model(
            'lomar_vit_small_patch16_224', checkpoint_path=str(tmp_path / 'in.pth'), **small
        )
