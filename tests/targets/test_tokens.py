"""Tokens as targets: mmpretrain's tokenizers and our own, their files, their loss, training."""

import inspect
import json
import math

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny_lomar
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.models.backbones import BEiTViT
from PIL import Image
from processes import run_lomar
from torchvision.transforms.v2.functional import InterpolationMode, resize

from lomar.checkpoints import load_file
from lomar.datasets.shape_drawing import render
from lomar.models.targets import TARGETS, InputFormat
from lomar.targets import PatchTokenizer
from lomar.targets import tokens as module
from lomar.targets.tokenizer_training import Settings, train_tokenizer

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
DALLE = dict(type='DALL-E', n_hid=8, n_blk_per_group=1, vocab_size=64)
ARCH = dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48)
VQKD = dict(type='VQKD', encoder_config=dict(arch=ARCH, img_size=64), num_embed=64, embed_dims=8)
CONFIGS = {'DALL-E': 'beit/beit', 'VQKD': 'beitv2/beitv2'}


def target(tokenizer, patch_size=16, channels=3, weights='random'):
    inputs = InputFormat(patch_size, channels, MEAN[:channels], STD[:channels])
    kind = dict(type='TokenTarget', tokenizer=tokenizer, weights=weights, inputs=inputs)
    return TARGETS.build(kind)


def everywhere(images, patch_size):
    grid = [side // patch_size for side in images.shape[-2:]]
    places = torch.meshgrid(*map(torch.arange, grid), indexing='ij')
    return [place.flatten().expand(len(images), -1) for place in places]


def published(kind):
    """mmpretrain's own config of BEiT or BEiT v2."""
    return get_config(f'mmpretrain::{CONFIGS[kind]}_beit-base-p16_8xb256-amp-coslr-300e_in1k.py')


def pictures(*shape):
    """Smooth random images as they are in files, 0 to 255, and as the student gets them."""
    coarse = torch.rand(*shape[:2], 8, 8, generator=torch.Generator().manual_seed(1)) * 255
    raw = torch.nn.functional.interpolate(coarse, shape[2:], mode='bilinear').round()
    mean, std = (torch.tensor(v[: shape[1]]).view(-1, 1, 1) for v in (MEAN, STD))
    return raw, (raw - mean) / std


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    """A folder with images of the embedded dataset."""
    folder = tmp_path_factory.mktemp('shapes')
    for number in range(40):
        pixels, _ = render(np.random.default_rng(number), 64)
        Image.fromarray(pixels).save(folder / f'{number:02d}.jpg', quality=95)
    return folder


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory):
    """A tokenizer's file as the command makes it, and what the command says."""
    out = tmp_path_factory.mktemp('tokenizer') / 'tokenizer.pth'
    flags = '--patch-size 4 --size 64 --vocabulary 64 --hidden 64 --steps 150 --batch-size 4'
    command = ('tokenizer', '--images', shapes, '--out', out, *flags.split())
    done = run_lomar(*command, '--workers', '0')
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


@pytest.mark.parametrize(
    ('tokenizer', 'patch_size', 'size'),
    [
        (DALLE, 8, (48, 80)),
        (DALLE, 16, (64, 96)),  # resized to half, as BEiT has it
        (VQKD, 16, (64, 64)),
        (VQKD, 8, (32, 128)),  # resized to 64 x 256: mmpretrain takes square numbers of tokens
    ],
)
def test_tokens_are_mmpretrains_of_whole_images(tokenizer, patch_size, size):
    init_default_scope('mmpretrain')
    raw, images = pictures(3, 3, *size)
    ours = target(tokenizer, patch_size)
    rows, columns = everywhere(images, patch_size)
    chosen = torch.stack([torch.randperm(rows.shape[1])[:10] for _ in images])
    tokens = ours(images, rows.gather(1, chosen), columns.gather(1, chosen))

    settings = dict(tokenizer)
    if tokenizer is VQKD:
        settings['encoder_config'] = {**module.VQKD_ENCODER, **VQKD['encoder_config']}
        settings['quantize_kmeans_init'] = False
    torch.manual_seed(module.SEED)
    network = MODELS.build(settings).eval()
    side = network.encoder.patch_embed.projection.stride[0] if tokenizer is VQKD else 8
    wanted = [extent // patch_size * side for extent in size]
    small = resize(raw, wanted, InterpolationMode.BICUBIC, antialias=True).clamp(0, 255)
    recipe = published(tokenizer['type']).data_preprocessor
    prepared = MODELS.build({**recipe, 'to_rgb': False})({'inputs': [raw, small], 'x': None})
    with torch.no_grad():
        whole = network(prepared['inputs'][1])
    whole = (whole if tokenizer is VQKD else whole.argmax(1)).flatten(1)
    assert tokens.dtype == torch.int64 and len(whole.unique()) > 3
    assert tokens.equal(whole.gather(1, chosen))


def test_constants_are_those_of_mmpretrains_configs():
    for kind in CONFIGS:
        cfg, tokenizer = published(kind), module.TOKENIZERS[kind]
        assert cfg.data_preprocessor.second_mean == [tokenizer.mean] * 3
        assert cfg.data_preprocessor.second_std == [tokenizer.std] * 3
        # The forks of OpenMMLab keep the same files on a server of their own.
        file = cfg.model.target_generator.init_cfg.checkpoint
        assert file.split('/')[3:] == tokenizer.origin.split('/')[3:]
    defaults = {k: p.default for k, p in inspect.signature(BEiTViT).parameters.items()}
    encoder = published('VQKD').model.target_generator.encoder_config
    assert {**defaults, **module.VQKD_ENCODER} == {**defaults, **encoder}


@pytest.mark.parametrize('tokenizer', [DALLE, VQKD])
def test_weights_come_from_the_file_and_all_of_them(tokenizer, tmp_path):
    network = target(tokenizer).tokenizer.network.network
    weights = {name: torch.randn_like(value) for name, value in network.named_buffers()}
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': {**weights, 'decoder.besides': torch.zeros(1)}}, path)
    loaded = target(tokenizer, weights=str(path)).tokenizer.network.network
    assert all(value.equal(weights[name]) for name, value in loaded.named_buffers())
    first = min(weights)
    torch.save({name: value for name, value in weights.items() if name != first}, path)
    with pytest.raises(ValueError, match=rf'head.target.weights is .*{path}: it lacks {first}\.'):
        target(tokenizer, weights=str(path))
    torch.save({**weights, first: torch.zeros(3, 1, 2)}, path)
    with pytest.raises(ValueError, match=r'another size.*download.openmmlab.com'):
        target(tokenizer, weights=str(path))


@pytest.mark.parametrize(
    ('tokenizer', 'weights', 'message'),
    [
        (DALLE, None, r"head.target.weights is not set; .*'random'.*dalle_encoder.pth"),
        (DALLE, 'no.pth', r'head.target.weights is no.pth: .*not exist.*dalle_encoder.pth'),
        (VQKD, 'no.pth', r'head.target.weights is no.pth: .*not exist.*vqkd_encoder.pth'),
        (dict(type='PatchTokenizer'), 'no.pth', r'no.pth.*lomar tokenizer --images DIR --out'),
        (dict(DALLE, init_cfg=dict(type='Pretrained')), 'random', 'tokenizer has init_cfg'),
        (dict(DALLE, input_channels=4), 'random', 'takes 4 channels, the images have 3'),
        (dict(type='VQGAN'), 'random', "type is 'VQGAN'; allowed: DALL-E, VQKD, PatchTokenizer"),
        (dict(type='PatchTokenizer', words=9), 'random', r"has \['words'\]"),
        (dict(type='PatchTokenizer', vocabulary=1), 'random', 'vocabulary is 1; allowed: 2'),
        (dict(type='PatchTokenizer', patch_size=8), 'random', 'patch_size=8, .* patch_size=16'),
    ],
)
def test_wrong_settings_are_named(tokenizer, weights, message):
    init_default_scope('mmpretrain')
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        target(tokenizer, weights=weights)


def test_our_file_must_fit(trained, tmp_path):
    path, kind = str(trained[0]), dict(type='PatchTokenizer')
    assert target(kind, 4, weights=path).dim == 64
    with pytest.raises(ValueError, match=r'tokenizer.pth: .* patch_size=4, .* patch_size=16'):
        target(kind, 16, weights=path)
    with pytest.raises(ValueError, match=r'vocabulary=64, .* vocabulary=128'):
        target(dict(kind, vocabulary=128), 4, weights=path)
    torch.save({'state_dict': {}}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other.pth: it is no file of `lomar tokenizer`'):
        target(kind, 4, weights=str(tmp_path / 'other.pth'))
    content = load_file(path)
    del content['state_dict']['codebook']
    torch.save(content, tmp_path / 'cut.pth')
    with pytest.raises(ValueError, match=r'not whole: .*codebook'):
        target(kind, 4, weights=str(tmp_path / 'cut.pth'))


def test_loss_is_cross_entropy_in_float32():
    judge = target(dict(type='PatchTokenizer', vocabulary=50)).patch_loss
    prediction, tokens = torch.randn(2, 5, 50) * 9, torch.randint(50, (2, 5))
    loss = judge(prediction.bfloat16(), tokens)
    x = prediction.bfloat16().double()
    expected = x.exp().sum(-1).log() - x.gather(-1, tokens[..., None])[..., 0]
    assert loss.shape == (2, 5) and loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=1e-5)  # float32's rounding


@pytest.mark.parametrize('tokenizer', [DALLE, VQKD, dict(type='PatchTokenizer')])
def test_a_model_does_not_hold_the_tokenizer(tokenizer):
    def build(seed):
        torch.manual_seed(seed)
        told = dict(type='TokenTarget', tokenizer=tokenizer, weights='random')
        model = tiny_lomar()
        head = dict(type='WindowHead', embed_dim=48, inputs=InputFormat(8, 3), target=told)
        state = torch.get_rng_state()
        model.head = MODELS.build(head)
        return model.train(), state

    (model, state), (other, _) = build(1), build(2)
    names = set(model.state_dict()) | {name for name, _ in model.named_parameters()}
    assert {n for n in names if n.startswith('head')} == {'head.pred.weight', 'head.pred.bias'}
    assert not any(part.training for part in model.head.target.tokenizer.modules())
    # Untrained ones are the same in every process and after --resume, whatever its seed.
    buffers = dict(model.head.target.named_buffers())
    assert buffers
    for name, value in other.head.target.named_buffers():
        assert value.equal(buffers[name]), name
    torch.set_rng_state(state)
    linear = torch.nn.Linear(48, model.head.target.dim)
    torch.nn.init.xavier_uniform_(linear.weight)
    assert linear.weight.equal(model.head.pred.weight), 'the tokenizer used up random numbers'
    before = {name: value.clone() for name, value in buffers.items()}
    images = pictures(2, 3, 64, 64)[1]
    model.loss(images)['loss'].backward()
    assert all(value.equal(before[name]) for name, value in buffers.items())
    model.load_state_dict(other.state_dict())  # strict


@pytest.mark.parametrize('channels', [1, 3])
def test_our_token_is_that_of_its_patch_alone(channels):
    images = torch.randn(2, channels, 48, 80)
    ours = target(dict(type='PatchTokenizer', vocabulary=64), 8, channels)
    rows, columns = everywhere(images, 8)
    tokens = ours(images, rows, columns)
    assert len(tokens.unique()) > 10
    for place in (0, 17, 59):
        row, column = rows[0, place], columns[0, place]
        alone = torch.randn(1, channels, 24, 16)  # another image of another size
        y, x = row * 8, column * 8
        alone[:, :, 16:, 8:] = images[1, :, y : y + 8, x : x + 8]
        assert ours(alone, torch.tensor([[2]]), torch.tensor([[1]])).item() == tokens[1, place]
    # Brighter, or of more contrast: the same token, as the pixels that LoMaR predicts.
    assert ours(images * 3 + 1, rows, columns).eq(tokens).float().mean() > 0.9


def test_the_tokenizer_learns(trained, shapes):
    path, said = trained
    figures = json.loads(path.with_suffix('.json').read_text())
    assert figures['error'] < 0.55  # 1 is the mean of each patch
    assert figures['perplexity'] > 30 and figures['used'] > 0.8
    assert f'reconstruction error {figures["error"]:.3f}' in said and '40 images in' in said
    untrained = PatchTokenizer(**load_file(path)['settings'])
    model = target(dict(type='PatchTokenizer'), 4, weights=str(path))
    image = torch.tensor(np.array(Image.open(shapes / '00.jpg'))).permute(2, 0, 1)[None]
    images = (image - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
    places = everywhere(images, 4)
    logits = torch.nn.functional.one_hot(model(images, *places), 64).float()
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).flatten(3)
    patches = patches.flatten(1, 2)
    wrong = (model.to_pixels(logits, patches) - patches).square().mean()
    spread = patches.var(dim=-1, correction=0).mean()
    assert wrong < 0.6 * spread, 'the pictures of tokens look like their patches'
    untrained.inputs = model.inputs
    noise = untrained.to_pixels(untrained(images, *places), patches)
    assert (noise - patches).square().mean() > 0.9 * spread


def test_a_seed_makes_one_tokenizer(shapes, tmp_path):
    def train(name, **settings):
        out = tmp_path / f'{name}.pth'
        small = dict(patch_size=8, vocabulary=16, hidden=16, steps=5, batch_size=2, size=32)
        train_tokenizer(Settings(str(shapes), str(out), **small, **settings))
        return load_file(out)['state_dict']

    one, same, other = train('a', workers=0), train('b', workers=2), train('c', seed=1)
    assert all(value.equal(same[name]) for name, value in one.items())
    assert not other['codebook'].equal(one['codebook'])


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(vocabulary=1), '--vocabulary is 1; allowed: 2 to'),
        (dict(size=60), '--size is 60; allowed: multiples of --patch-size 16'),
        (dict(out='a.pt'), r'--out is a.pt; allowed: .* ends in .pth'),
        (dict(out='/dev/null/a.pth'), 'cannot be written: /dev/null is no writable folder'),
        (dict(images='/nowhere'), 'nowhere does not exist'),
        (dict(lr=0), '--lr is 0; allowed'),
        (dict(device='meat'), '--device meat is not there'),
    ],
)
def test_settings_are_checked_first(settings, message, shapes, tmp_path):
    settings = {'images': str(shapes), 'out': str(tmp_path / 'a.pth'), **settings}
    with pytest.raises((OSError, ValueError), match=message):
        train_tokenizer(Settings(**settings))


def test_damaged_images_and_a_file_that_is_there(shapes, tmp_path):
    for path in shapes.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / 'bad.jpg').write_bytes(b'no image')
    small = dict(patch_size=8, vocabulary=16, hidden=16, steps=5, batch_size=4, size=32, workers=0)
    settings = Settings(str(tmp_path), str(tmp_path / 'a.pth'), **small)
    _, unreadable = train_tokenizer(settings)
    assert list(unreadable) == [str(tmp_path / 'bad.jpg')]
    with pytest.raises(ValueError, match=r'a.pth is there already; --overwrite'):
        train_tokenizer(settings)
    for number in range(3):
        (tmp_path / f'bad{number}.jpg').write_bytes(b'no image')
    with pytest.raises(OSError, match='of 44 images are unreadable, more than the share'):
        train_tokenizer(Settings(str(tmp_path), str(tmp_path / 'b.pth'), **small))


@pytest.fixture
def toy(trained):
    """The toy config, narrow and shallow, with the trained tokenizer."""
    name = 'lomar-beit_vit-tiny-p4_1xb32-coslr-8e_shapes.py'
    cfg = Config.fromfile(ROOT / 'mmconfigs/shapes' / name)
    init_default_scope(cfg.default_scope)
    cfg.model.head.target.weights = str(trained[0])
    cfg.model.backbone.arch = dict(embed_dim=64, depth=2, num_heads=2)
    torch.manual_seed(0)
    return cfg, MODELS.build(cfg.model)


def test_lomar_learns_tokens(toy, shapes):
    cfg, model = toy
    images = [torch.tensor(np.array(Image.open(p))).permute(2, 0, 1) for p in shapes.iterdir()]
    cfg.optim_wrapper.optimizer.lr = 3e-3
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    losses = []
    for _ in range(30):
        data = {'inputs': images[:8], 'data_samples': None}
        losses.append(model.train_step(data, optim_wrapper)['loss'].item())
    # At the start no word is likelier than another; the untrained logits add half their variance.
    assert math.log(64) - 0.1 < losses[0] < math.log(64) + 1
    assert sum(losses[-5:]) / 5 < losses[0] - 0.5


@pytest.mark.parametrize('tokenizer', [DALLE, VQKD, dict(type='PatchTokenizer')])
def test_images_of_several_sizes(tokenizer):
    model = tiny_lomar().eval()
    told = dict(type='TokenTarget', tokenizer=tokenizer, weights='random')
    inputs = InputFormat(8, 3, MEAN, STD)
    model.head = MODELS.build(dict(type='WindowHead', embed_dim=48, inputs=inputs, target=told))
    sizes = [(64, 64), (48, 80), (64, 64), (40, 32)]
    images = [pictures(1, 3, *size)[1][0] + shift for shift, size in enumerate(sizes)]
    windows, masked = model.sample(images, torch.Generator().manual_seed(0))
    prediction = model.predict(images, windows, masked)
    together = model.window_loss(images, prediction, windows, masked)
    alone = [
        model.window_loss(images[i][None], prediction[i][None], windows[i][None], masked[i][None])
        for i in range(len(images))
    ]
    # Means of equal numbers of patches; float32 sums in another order.
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-5, atol=0)
