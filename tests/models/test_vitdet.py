"""The backbone and the feature pyramid as a detector uses them."""

import pytest
import torch
from conftest import TINY_ARCH, randomised
from torch import nn
from torch.nn import functional as F

from lomar.checkpoints import transfer_backbone
from lomar.models import LoMaRViT, RPEViT, SimpleFeaturePyramid, attention
from lomar.models import flex_attention as flex

POSITIONS = ('irpe', 'absolute', 'absolute+decomposed')


def backbone(position='irpe', img_size=64, **settings):
    return randomised(
        RPEViT(
            TINY_ARCH,
            img_size,
            8,
            out_type='featmap',
            with_cls_token=False,
            final_norm=False,
            position=position,
            **settings,
        )
    )


def images(height, width, batch=2):
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def gradients(model, *inputs):
    model.zero_grad()
    model(*inputs)[0].square().mean().backward()
    return {name: p.grad for name, p in model.named_parameters()}


@pytest.mark.parametrize('position', POSITIONS)
def test_windowed_equals_global_when_the_window_is_the_map(position):
    windowed, plain = backbone(position, window_size=8), backbone(position)
    plain.load_state_dict(windowed.state_dict())
    torch.testing.assert_close(windowed(images(64, 64)), plain(images(64, 64)))


@pytest.mark.parametrize('position', ['irpe', 'absolute'])
def test_windows_do_not_see_each_other_and_global_blocks_do(position):
    batch = images(64, 64)
    changed = batch.clone()
    changed[..., 32:] = 0  # the windows on the right

    def differs(model):
        return (model(batch)[0] != model(changed)[0]).any(dim=(0, 1))

    apart = differs(backbone(position, window_size=4))
    assert not apart[:, :4].any() and apart[:, 4:].all()
    assert differs(backbone(position, window_size=4, global_blocks=[1])).all()


def test_padding_is_zero_and_attended():
    # A map of 3 x 5 in windows of 4: the same as the map padded by hand after the norm.
    model = backbone(window_size=4)
    block = model.blocks[0]
    x = torch.randn(2, 15, 48, generator=torch.Generator().manual_seed(0))
    padded = torch.zeros(2, 4, 8, 48)
    padded[:, :3, :5] = block.norm1(x).unflatten(1, (3, 5))
    left = block.attn(padded[:, :, :4].flatten(1, 2), (4, 4)).unflatten(1, (4, 4))
    right = block.attn(padded[:, :, 4:].flatten(1, 2), (4, 4)).unflatten(1, (4, 4))
    x = x + torch.cat([left, right], dim=2)[:, :3, :5].flatten(1, 2)
    x = x + block.mlp(block.norm2(x))
    torch.testing.assert_close(
        block(torch.randn(2, 15, 48, generator=torch.Generator().manual_seed(0)), (3, 5)), x
    )


@pytest.mark.parametrize('position', ['irpe', 'absolute+decomposed'])
def test_long_sequences_in_parts_equal_the_whole(position, monkeypatch):
    model, batch = backbone(position), images(40, 72)
    whole, expected = model(batch)[0], gradients(model, batch)
    monkeypatch.setattr(attention, 'MAX_QUERIES', 20)
    monkeypatch.setattr(attention, 'MAX_QUERIES_ON_CPU', 20)  # two rows of nine patches at a time
    torch.testing.assert_close(model(batch)[0], whole)
    torch.testing.assert_close(gradients(model, batch), expected)


ATTENTIONS = {
    'q of keys': (1, dict(rpe={})),
    'both': (0, dict(rpe=dict(on='qk'))),
    'bias': (1, dict(rpe=dict(mode='bias'))),
    'decomposed': (0, dict(decomposed=(9, 16))),
}


@pytest.mark.parametrize('kind', ATTENTIONS)
def test_attention_without_gradients_equals_that_with_them(kind):
    # Fused and in parts on a CPU: 144 patches are 128 queries, which are 8 rows, and the rest.
    cls_token, settings = ATTENTIONS[kind]
    module = randomised(attention.Attention(32, 2, **settings)).bfloat16()
    tokens = torch.randn(3, 144 + cls_token, 32, generator=torch.Generator().manual_seed(0))

    def results(dtype):
        inputs = tokens.bfloat16().to(dtype), (9, 16)
        with torch.no_grad():
            fast = module.to(dtype)(*inputs)
        return module(*inputs), fast

    expected, fast = results(torch.float64)
    torch.testing.assert_close(fast, expected)
    # In bfloat16, both round the logits or the weights; outputs are 0.4 on average.
    for result in results(torch.bfloat16):
        assert (result - expected).abs().mean() < 0.003


def flex_and_parts(grid, device, dtype, grad):
    """Outputs, and gradients of their squares, of both ways to attend over a map."""
    module = randomised(attention.Attention(32, 2, {}, flex=True)).to(device, dtype)
    shape = (3, 2, 2, grid[0] * grid[1], 16)
    qkv = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    results = []
    for way in ('flex', 'parts'):
        q, k, v = tokens = qkv.clone().requires_grad_(grad)
        if way == 'flex':
            out = flex.flex_attend(q, k, v, module.rpe_k, grid, module.scale)
        else:
            out = module._attend(q, k, v, grid, 0, q.shape[2])
        results.append([out])
        if grad:
            inputs = tokens, module.rpe_k.lookup_table_weight
            results[-1] += torch.autograd.grad(out.float().square().sum(), inputs)
    return zip(*results, strict=True)


@pytest.mark.parametrize('grid', [(3, 5), (6, 9)])
def test_flex_attention_adds_the_same_positions(grid):
    # On a CPU it has no gradients.
    with torch.no_grad():
        for got, expected in flex_and_parts(grid, 'cpu', torch.float32, grad=False):
            torch.testing.assert_close(got, expected)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ('dtype', 'tolerance'),
    # TF32 is off; bf16 has eight bits, and both ways round.
    [(torch.float32, 1e-4), (torch.bfloat16, 3e-2)],
)
def test_flex_attention_on_a_gpu(dtype, tolerance):
    for got, expected in flex_and_parts((40, 33), 'cuda', dtype, grad=True):
        assert (got - expected).float().norm() <= tolerance * expected.float().norm()


def test_flex_attention_is_for_lomars_positions():
    backbone(flex=True)
    for settings in (
        dict(position='absolute+decomposed'),
        dict(rpe=dict(on='qk')),
        dict(rpe=dict(mode='bias')),
    ):
        with pytest.raises(ValueError, match=r'backbone\.flex is True; allowed with backbone.pos'):
            backbone(flex=True, **settings)


def test_decomposed_positions_against_a_loop():
    module = randomised(attention.DecomposedRelativePosition((3, 4), 5))
    q = torch.randn(1, 2, 12, 5, generator=torch.Generator().manual_seed(0))
    bias = module(q, (3, 4), False)
    for i in range(12):
        for j in range(12):
            down, right = i // 4 - j // 4, i % 4 - j % 4
            vector = module.rel_pos_h[down + 2] + module.rel_pos_w[right + 3]
            torch.testing.assert_close(bias[0, :, i, j], q[0, :, i] @ vector)
    # Another grid: the tables are interpolated to its offsets.
    module.rel_pos_h.data = torch.arange(5.0)[:, None].expand(5, 5) - 2
    module.rel_pos_w.data.zero_()
    bias = module(torch.ones(1, 1, 24, 5), (6, 4), False)[0, 0]
    assert bias[0, 0] == 0 and bias[20, 0] > bias[8, 0] > 0 > bias[0, 8]


def resized(table, grid):
    """detectron2's and MAE's: bicubic, corners not aligned, no antialiasing."""
    side = round(table.shape[1] ** 0.5)
    maps = table.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    return F.interpolate(maps, grid, mode='bicubic').flatten(2).transpose(1, 2)


def test_absolute_positions_are_resized_to_the_map():
    model, batch = backbone('absolute'), images(40, 72)
    other = RPEViT(
        TINY_ARCH, (40, 72), 8, out_type='featmap', position='absolute', with_cls_token=False,
        final_norm=False,
    )  # fmt: skip
    table = resized(model.pos_embed, (5, 9))
    other.load_state_dict({**model.state_dict(), 'pos_embed': table}, strict=False)
    assert other.patch_embed.proj.weight.shape == (48, 3, 8, 8)
    torch.testing.assert_close(model(batch), other(batch))


def test_absolute_positions_of_the_pretraining_are_resized_in_every_forward_pass(mae):
    """As in detectron2: MAE's 8 x 8 positions serve images of 12 x 12 patches, unchanged."""
    model = backbone('absolute+decomposed', img_size=96, pretrain_img_size=64)
    report = transfer_backbone(mae.state_dict(), model)
    assert torch.equal(model.pos_embed, mae.backbone.pos_embed[:, 1:])
    assert 'pos_embed (1, 65, 48) -> (1, 64, 48)' in report.resized  # without the cls token's
    plain = backbone('absolute+decomposed', img_size=96)
    table = resized(model.pos_embed, (12, 12))
    plain.load_state_dict({**model.state_dict(), 'pos_embed': table})
    torch.testing.assert_close(model(images(96, 96)), plain(images(96, 96)))
    model(images(96, 96))[0].square().sum().backward()
    assert model.pos_embed.grad.shape == (1, 64, 48) and model.pos_embed.grad.all()
    message = r'backbone\.pretrain_img_size is 60 x 60; allowed: multiples'
    with pytest.raises(ValueError, match=message):
        backbone('absolute', pretrain_img_size=60)


def test_tables_of_earlier_versions_are_taken_as_they_are():
    """They were learned for the grid of `img_size`: to test, to resume, to transfer from."""
    old = backbone('absolute', img_size=96)  # 12 x 12
    settings = dict(img_size=96, pretrain_img_size=64)
    batch, expected = images(96, 72), old(images(96, 72))
    loaded, transferred = (backbone('absolute', **settings) for _ in range(2))
    parameter = loaded.pos_embed
    optimizer = torch.optim.AdamW(loaded.parameters())
    loaded.load_state_dict(old.state_dict())
    report = transfer_backbone(old.state_dict(), transferred)
    assert not report.resized
    for model in (loaded, transferred):
        torch.testing.assert_close(model(batch), expected)
    assert loaded.pos_embed is parameter
    loaded(batch)[0].square().sum().backward()
    optimizer.step()
    assert optimizer.state[parameter]['exp_avg'].shape == (1, 144, 48)
    # And back to a table of the present kind.
    new = backbone('absolute', **settings)
    loaded.load_state_dict(new.state_dict())
    torch.testing.assert_close(loaded(batch), new(batch))
    with pytest.raises(RuntimeError, match='size mismatch for pos_embed'):
        loaded.load_state_dict({**new.state_dict(), 'pos_embed': torch.zeros(1, 100, 48)})


def test_initial_weights_are_those_of_the_official_code():
    """detectron2's and the fine-tuning codes' for `RPEViT`, MAE's pretraining for `LoMaRViT`."""
    torch.manual_seed(0)
    arch = dict(embed_dim=96, depth=4, num_heads=2)
    tuned, pretrained = RPEViT(arch, 224, 16, position='absolute'), LoMaRViT(arch, 224, 16)
    for model in (tuned, pretrained):
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                fans = sum(module.weight.shape)
                std = 0.02 if model is tuned else (2 / fans) ** 0.5  # Xavier
                # A deviation from n samples is known to 1 / sqrt(2 n): 0.7 % for 96 x 96.
                assert module.weight.std().item() == pytest.approx(std, rel=0.03), name
                assert not module.bias.any(), name
    assert tuned.pos_embed.std().item() == pytest.approx(0.02, rel=0.03)
    for model, fans in ((tuned, None), (pretrained, 96 + 768)):
        # The default of a convolution is uniform up to 1 / sqrt(fan in).
        bound = 768**-0.5 if fans is None else (6 / fans) ** 0.5
        assert model.patch_embed.proj.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)


@pytest.mark.parametrize('position', POSITIONS)
def test_activation_checkpointing_equals_plain(position):
    settings = dict(window_size=4, global_blocks=[2], drop_path_rate=0.3)
    plain, checkpointed = (backbone(position, with_cp=cp, **settings) for cp in (False, True))
    torch.manual_seed(0)
    expected = gradients(plain, images(64, 48))
    torch.manual_seed(0)
    torch.testing.assert_close(gradients(checkpointed, images(64, 48)), expected)


@pytest.mark.parametrize('position', ['irpe', 'absolute+decomposed'])
def test_compiled_blocks_equal_plain(position):
    """Also for a second size, at which PyTorch would switch to dynamic shapes."""
    # Without code generation, which needs a compiler: capture, constants and gradients are tested.
    settings = dict(window_size=4, global_blocks=[1])
    plain = backbone(position, **settings)
    compiled = backbone(position, **settings, compiled=dict(backend='aot_eager', fullgraph=True))
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    for size in ((40, 72), (64, 48)):
        batch = images(*size)
        torch.testing.assert_close(compiled(batch), plain(batch))
        torch.testing.assert_close(gradients(compiled, batch), gradients(plain, batch))


def test_every_block_is_compiled_whatever_its_drop_path():
    """Blocks share their code, and the rate is a constant of the graph."""
    options = dict(backend='eager', fullgraph=True)  # an error where PyTorch would not compile
    arch = dict(TINY_ARCH, depth=12)
    with torch._dynamo.config.patch(recompile_limit=8):  # PyTorch's default
        model = RPEViT(arch, 64, 8, drop_path_rate=0.2, compiled=options)
        for training in (True, False):
            model.train(training)(images(64, 64))


def test_frozen_stages():
    def frozen(stages):
        model = backbone(frozen_stages=stages)
        return {n.rsplit('.', 1)[0] for n, p in model.named_parameters() if not p.requires_grad}

    assert frozen(0) == set()
    assert frozen(1) == {'patch_embed.proj'}
    assert {n.split('.')[1] for n in frozen(3) if 'blocks' in n} == {'0', '1'}


def test_wrong_settings_name_the_key():
    for settings, message in [
        (dict(window_size=-1), r'backbone\.window_size is -1; allowed: 0'),
        (dict(global_blocks=[1]), r'global_blocks is \[1\]; .* only with backbone\.window_size'),
        (dict(window_size=4, global_blocks=[3]), r'global_blocks is \[3\]; allowed: 0 to 2'),
        (dict(frozen_stages=6), r'frozen_stages is 6; allowed: 0 to 5'),
        (
            dict(pretrain_img_size=64),
            r'pretrain_img_size is 64, but iRPE needs no size; allowed with',
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            backbone(**settings)
    with pytest.raises(ValueError, match=r'cls token belongs to no window'):
        RPEViT(TINY_ARCH, 64, 8, window_size=4)
    with pytest.raises(ValueError, match=r"no layer is known for .*'blockz\.0\.x'"):
        backbone().get_layer_depth('blockz.0.x')
    with pytest.raises(ValueError, match=r'neck\.scales is \[1, 2\]; allowed'):
        SimpleFeaturePyramid(48, scales=[1, 2])


@pytest.mark.parametrize('name', ['img_size', 'pretrain_img_size'])
@pytest.mark.parametrize('size', ['64', 64.0, True, (64,), (64, 64, 64), ('64', '64')])
def test_sizes_that_are_refused(name, size):
    message = rf'backbone\.{name} is .*; allowed: an integer, or \(height, width\)'
    with pytest.raises(ValueError, match=message):
        backbone('absolute', **{name: size})


def test_feature_pyramid():
    neck = SimpleFeaturePyramid(48, 16)
    with pytest.raises(ValueError, match=r'neck\.in_channels is 48, but the backbone has 24'):
        neck((torch.ones(1, 24, 4, 4),))
    maps = neck((torch.randn(2, 48, 6, 10),))
    assert [tuple(m.shape) for m in maps] == [
        (2, 16, 24, 40), (2, 16, 12, 20), (2, 16, 6, 10), (2, 16, 3, 5), (2, 16, 2, 3)
    ]  # fmt: skip
    assert all(m.is_contiguous() for m in maps)  # heads of mmdet call `view`
    for m in maps[:4]:  # every level ends in a LayerNorm over channels
        torch.testing.assert_close(m.mean(1), torch.zeros_like(m[:, 0]), atol=1e-5, rtol=0)
    count = sum(p.numel() for p in SimpleFeaturePyramid(768, 256).parameters())
    upsampling = 2 * (768 * 384 * 4 + 384) + 384 * 192 * 4 + 192 + 2 * 384
    lateral = (192 + 384 + 768 + 768) * 256
    assert count == upsampling + lateral + 4 * 256 * 256 * 9 + 4 * 4 * 256
