"""LoMaR, its backbone and relative positions against plain computations."""

import re
from copy import deepcopy

import pytest
import torch
from conftest import TINY_ARCH, randomised, tiny_lomar
from mmengine.registry import MODELS

from lomar.models import RPEViT, rpe
from lomar.models.attention import Attention
from lomar.models.patches import paste_patches, patches_at


def images(batch=3, size=(64, 64), channels=3):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize('cls_token', [True, False])
@pytest.mark.parametrize('shared_heads', [True, False])
@pytest.mark.parametrize(
    ('mode', 'on'), [('contextual', 'k'), ('contextual', 'qkv'), ('contextual', 'v'), ('bias', 'k')]
)
@pytest.mark.parametrize('method', ['euclidean', 'quant', 'product', 'cross'])
def test_attention_equals_a_loop_over_pairs(method, mode, on, shared_heads, cls_token):
    grid, heads, dim = (2, 3), 2, 8
    attention = randomised(
        Attention(dim, heads, dict(method=method, mode=mode, on=on, shared_heads=shared_heads))
    ).double()
    length = grid[0] * grid[1] + cls_token
    x = torch.randn(2, length, dim, generator=torch.Generator().manual_seed(2)).double()
    q, k, v = attention.qkv(x).view(2, length, 3, heads, dim // heads).unbind(2)

    def tables(letter):
        module = getattr(attention, f'rpe_{letter}')
        if module is None:
            return []
        parts = [module.rp_rows, module.rp_cols] if method == 'cross' else [module]
        return [(part, rpe.bucket_ids(part.method, *grid, cls_token=cls_token)) for part in parts]

    def term(letter, token, head, i, j):
        total = 0
        for part, ids in tables(letter):
            h = 0 if shared_heads else head
            if mode == 'bias':
                total += part.lookup_table_bias[h, ids[i, j]]
            else:
                total += token @ part.lookup_table_weight[h, :, ids[i, j]]
        return total

    out = torch.zeros(2, length, heads, dim // heads).double()
    for n in range(2):
        for h in range(heads):
            for i in range(length):
                logits = torch.stack(
                    [
                        q[n, i, h] @ k[n, j, h] * (dim // heads) ** -0.5
                        + term('k', q[n, i, h], h, i, j)  # q without its scale: LoMaR's way
                        # Read from key to query: the pair is seen from the other side.
                        + term('q', k[n, j, h] * (dim // heads) ** -0.5, h, j, i)
                        for j in range(length)
                    ]
                )
                weights = logits.softmax(0)
                for j in range(length):
                    value = v[n, j, h]
                    for part, ids in tables('v'):
                        value = (
                            value + part.lookup_table_weight[0 if shared_heads else h, ids[i, j]]
                        )
                    out[n, i, h] += weights[j] * value
    expected = attention.proj(out.flatten(2))
    torch.testing.assert_close(attention(x, grid), expected)  # float64: 1e-7


@pytest.mark.parametrize('norm_pix', [True, False])
def test_loss_is_the_mean_over_masked_patches(norm_pix):
    model = randomised(tiny_lomar(head=dict(norm_pix=norm_pix)))
    batch = images()
    torch.manual_seed(3)
    loss = model.forward(batch, mode='loss')['loss']
    torch.manual_seed(3)
    windows, masked = model.sample(batch)
    plain = model.window_loss(batch, model.predict(batch, windows, masked), windows, masked)
    torch.testing.assert_close(loss, plain)


def test_loss_sees_masked_targets_only_and_the_encoder_visible_patches_only():
    model = randomised(tiny_lomar(windows=dict(number=1)))
    batch = images(batch=1)
    generator = torch.Generator().manual_seed(0)
    windows, masked = model.sample(batch, generator)
    prediction = model.predict(batch, windows, masked)
    patches = model.cut(batch, windows)

    hidden, visible = patches.clone(), patches.clone()
    hidden[masked] *= torch.rand(1, len(hidden[0, 0, 0]))
    visible[~masked] += 1
    latent = model.backbone.encode_windows(patches, masked)
    assert torch.equal(model.backbone.encode_windows(hidden, masked), latent)
    assert not torch.equal(model.backbone.encode_windows(visible, masked), latent)

    def loss(content):
        pixels = paste_patches(batch, content, windows, 8)
        return model.window_loss(pixels, prediction, windows, masked)

    assert torch.equal(loss(visible), loss(patches))
    assert not torch.equal(loss(hidden), loss(patches))

    # Pixels outside all windows matter to neither.
    outside = batch.clone()
    inside = model.cut(torch.arange(64.0 * 64).view(1, 1, 64, 64).expand(1, 3, -1, -1), windows)
    mask = torch.ones(64 * 64, dtype=torch.bool)
    mask[inside.flatten().long()] = False
    assert mask.any()
    outside.flatten(2)[..., mask] = 7
    assert torch.equal(model.predict(outside, windows, masked), prediction)


def test_permuting_the_batch_permutes_predictions():
    model = randomised(tiny_lomar())
    batch, order = images(4), torch.tensor([2, 0, 3, 1])
    windows, masked = model.sample(batch, torch.Generator().manual_seed(0))
    prediction = model.predict(batch, windows, masked)
    permuted = model.predict(batch[order], windows[order], masked[order])
    torch.testing.assert_close(permuted, prediction[order])


@pytest.mark.parametrize('on', ['k', 'qkv'])
def test_every_parameter_gets_a_gradient(on):
    model = tiny_lomar(backbone=dict(rpe=dict(on=on)))
    torch.manual_seed(0)
    # Tables that start at zero move only once they do something.
    model(images(), mode='loss')['loss'].backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_norm_pix_round_trip():
    target = tiny_lomar().head.target
    image = torch.randn(1, 3, 8, 40, generator=torch.Generator().manual_seed(0)) * 3 + 2
    place = torch.zeros(1, 5, dtype=torch.int64), torch.arange(5)[None]
    patches, wanted = patches_at(image, *place, 8), target(image, *place)
    torch.testing.assert_close(wanted.var(-1), torch.ones(1, 5), atol=1e-5, rtol=0)  # unbiased
    torch.testing.assert_close(target.to_pixels(wanted, patches), patches)
    # A flat patch does not divide by 0.
    assert target(torch.full_like(image, 2.0), *place).abs().max() == 0


@pytest.mark.parametrize('position', ['irpe', 'absolute'])
@pytest.mark.parametrize(
    ('out_type', 'shape'),
    [
        ('avg_featmap', (2, 48)),
        ('cls_token', (2, 48)),
        ('featmap', (2, 48, 5, 10)),
        ('raw', (2, 51, 48)),
    ],
)
def test_backbone_takes_any_size(position, out_type, shape):
    backbone = RPEViT(TINY_ARCH, 64, 8, out_type=out_type, position=position)
    (features,) = backbone(images(2, (40, 80)))
    assert features.shape == shape and features.isfinite().all()


def test_featmap_is_laid_out_as_the_image():
    # With tables at zero tokens do not know where they are, so moving patches moves features.
    backbone = RPEViT(TINY_ARCH, 64, 8, out_type='featmap')
    batch = images(1, (40, 80))
    rolled = batch.roll((8, 24), dims=(2, 3))
    torch.testing.assert_close(
        backbone(rolled)[0], backbone(batch)[0].roll((1, 3), dims=(2, 3)), atol=1e-5, rtol=1e-5
    )


def test_layer_depth():
    backbone = tiny_lomar().backbone
    depth = {name: backbone.get_layer_depth(name) for name, _ in backbone.named_parameters()}
    assert depth['patch_embed.proj.weight'] == depth['mask_token'] == depth['cls_token'] == (0, 5)
    assert depth['blocks.0.norm1.weight'] == (1, 5)
    assert depth['blocks.2.attn.rpe_k.lookup_table_weight'] == (3, 5)
    assert depth['norm.weight'] == (4, 5)
    assert backbone.get_layer_depth('backbone.blocks.1.mlp.fc1.bias', 'backbone.') == (2, 5)
    # mmpretrain's LearningRateDecayOptimWrapperConstructor asks for the head, too.
    assert backbone.get_layer_depth('head.fc.weight', 'backbone.') == (4, 5)


@pytest.mark.parametrize(('dtype', 'tolerance'), [('float64', 1e-12), ('bfloat16', 2e-2)])
@pytest.mark.parametrize('shared_heads', [True, False])
@pytest.mark.parametrize(('grid', 'cls_token'), [((7, 7), True), ((3, 5), False), ((1, 9), True)])
def test_gathered_columns_equal_gathered_logits(grid, cls_token, shared_heads, dtype, tolerance):
    # The reference is in float64; bf16 has eight bits, 4e-3, and two roundings add up.
    table = randomised(rpe.build_rpe(3, 8, shared_heads=shared_heads)['k']).double()
    ids = rpe.bucket_ids('product', *grid, cls_token=cls_token)
    x = torch.randn(2, 3, len(ids), 8, generator=torch.Generator().manual_seed(0)).double()
    weight = torch.randn(2, 3, *ids.shape, generator=torch.Generator().manual_seed(1)).double()

    def run(way, dtype):
        module = deepcopy(table).to(dtype)
        queries = x.to(dtype, copy=True).requires_grad_()
        term = getattr(module, way)(queries, ids)
        (term * weight.to(dtype)).sum().backward()
        return term, queries.grad, module.lookup_table_weight.grad

    expected = run('gather_logits', torch.float64)
    for got, want in zip(run('gather_columns', getattr(torch, dtype)), expected, strict=True):
        assert (got.double() - want).norm() <= tolerance * want.norm()


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(backbone=dict(in_channels=0)), 'in_channels'),
        (dict(windows=dict(size=9)), r'windows\.size is 9'),
        (dict(backbone=dict(rpe=dict(method='products'))), r"rpe\.method is 'products'; allowed"),
        (dict(backbone=dict(rpe=dict(mode='both'))), r"rpe\.mode is 'both'; allowed"),
        (dict(backbone=dict(rpe=dict(on='x'))), r"rpe\.on is 'x'; allowed"),
        (dict(backbone=dict(rpe=dict(mode='bias', on='v'))), r"rpe\.on contains 'v'"),
        *(
            (dict(backbone=dict(position=other)), rf"'{re.escape(other)}'; LoMaRViT allows: irpe")
            for other in ('absolute', 'absolute+decomposed')
        ),
        (dict(backbone=dict(out_type='map')), r"out_type is 'map'; allowed"),
    ],
)
def test_wrong_settings_name_the_key(settings, message):
    with pytest.raises(ValueError, match=message):
        tiny_lomar(**settings)


def test_wrong_architecture_names_the_key():
    for arch, message in [
        ('basic', r"backbone\.arch is 'basic'; allowed: tiny, small, base"),
        (dict(embed_dim=8), r'backbone\.arch has the keys'),
        (dict(embed_dim=8, depth=1, num_heads=3), r'embed_dim is 8; allowed: multiples'),
    ]:
        with pytest.raises(ValueError, match=message):
            RPEViT(arch)
    with pytest.raises(ValueError, match=r'backbone\.img_size is 225 x 225; allowed: multiples'):
        MODELS.build(dict(type='RPEViT', img_size=225))


@pytest.mark.parametrize(
    ('batch', 'message'),
    [
        (images(channels=4), r'shape \(3, 4, 64, 64\); allowed: .*in_channels = 3'),
        (images(size=(64, 60)), r"image's size is 64 x 60; allowed: multiples"),
        (images(size=(16, 64)), r'windows\.size is 3 patches, .* 2 x 8'),
    ],
)
def test_wrong_images_are_named_at_the_first_batch(batch, message):
    with pytest.raises(ValueError, match=message):
        tiny_lomar()(batch, mode='loss')


def test_training_after_inference_mode():
    model, batch = tiny_lomar(), images(size=(56, 40))  # a grid of its own
    with torch.inference_mode():
        model(batch)
    got, expected = model(batch)[0], tiny_lomar()
    expected.load_state_dict(model.state_dict())
    got.square().mean().backward()
    rpe._kept_bucket_ids.cache_clear()
    expected(batch)[0].square().mean().backward()
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_autocast_keeps_the_residual_stream_in_float32():
    model, streams = tiny_lomar(), []
    for block in model.backbone.blocks:
        block.register_forward_hook(lambda module, args, out: streams.append(out.dtype))
    with torch.autocast('cpu', torch.bfloat16):
        model(images(), mode='loss')['loss'].backward()
    assert streams == [torch.float32] * 3


@pytest.mark.gpu
def test_gpu_equals_cpu():
    model = randomised(tiny_lomar())
    batch = images()
    windows, masked = model.sample(batch, torch.Generator().manual_seed(0))
    expected = model.window_loss(batch, model.predict(batch, windows, masked), windows, masked)
    model, batch, windows, masked = (x.cuda() for x in (model, batch, windows, masked))
    loss = model.window_loss(batch, model.predict(batch, windows, masked), windows, masked)
    torch.testing.assert_close(loss.cpu(), expected, atol=1e-4, rtol=1e-4)  # TF32 stays off
