"""Targets besides pixels: against other implementations, in training, and one written anew."""

import re

import numpy as np
import pytest
import timm
import torch
from conftest import ROOT, TINY_ARCH, randomised, tiny_lomar
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from skimage.feature import hog
from torch.nn import functional as F

from lomar.cost.flops import count
from lomar.datasets.shapes import render
from lomar.models.patches import patch_coordinates
from lomar.models.targets import TARGETS, InputFormat
from lomar.visualization.reconstruction import reconstruct

RPEVIT = dict(type='RPEViT', arch=TINY_ARCH, img_size=64, patch_size=8, out_type='featmap')
TARGET_CONFIGS = dict(
    hog=dict(type='HOGTarget'),
    teacher=dict(type='TeacherTarget', teacher=RPEVIT, weights='random', stride=8),
)
MMPRETRAIN = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48),
    img_size=64,
    patch_size=8,
    out_type='featmap',
)


def build(images, size=8, **target):
    """A target for images (B, C, H, W) normalised by a mean of 100 and a deviation of 50."""
    init_default_scope('mmpretrain')
    number = [100.0] * images.shape[1], [50.0] * images.shape[1]
    inputs = InputFormat(size, images.shape[1], *number, img_size=tuple(images.shape[2:]))
    return TARGETS.build(dict(target, inputs=inputs))


def teacher_of(images=None, **settings):
    images = torch.zeros(1, 3, 64, 64) if images is None else images
    if 'type' not in settings:
        settings = {**TARGET_CONFIGS['teacher'], **settings}
    return build(images, **settings)


def with_target(target):
    torch.manual_seed(0)
    return randomised(tiny_lomar(head=dict(type='WindowHead', target=target)))


def drawn(number, side=64):
    """Pictures of the embedded dataset, (B, 3, H, W) uint8."""
    pictures = [render(np.random.default_rng(i), side)[0] for i in range(number)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).double() * 255


def everywhere(images, size):
    """Rows and columns of all patches, last ones first."""
    grid = [torch.arange(side // size).flip(0) for side in images.shape[2:]]
    places = torch.stack(torch.meshgrid(*grid, indexing='ij')).flatten(1)
    return places[:, None].expand(-1, len(images), -1)


def skimage_hog(images, size, orientations, cell):
    """The same of whole images by scikit-image, cut afterwards: (B, h, w, dim)."""
    maps = [
        [
            hog(channel, orientations, (cell, cell), (1, 1), 'L2', feature_vector=False)
            for channel in x
        ]
        for x in images.numpy()
    ]
    cells = torch.from_numpy(np.array(maps)).flatten(4)  # (B, C, H / cell, W / cell, bins)
    side = size // cell
    cells = cells.unflatten(3, (-1, side)).unflatten(2, (-1, side))
    return cells.permute(0, 2, 4, 1, 3, 5, 6).flatten(3)


@pytest.mark.parametrize(
    ('channels', 'size', 'orientations', 'cell'), [(1, 16, 9, 8), (3, 16, 9, 16), (4, 8, 8, 4)]
)
def test_hog_equals_scikit_image(channels, size, orientations, cell):
    images = noise(2, channels, 48, 80)
    rows, columns = everywhere(images, size)
    target = build(images, size, type='HOGTarget', orientations=orientations, cell=cell)
    expected = skimage_hog(images, size, orientations, cell)
    expected = expected[torch.arange(2)[:, None], rows, columns]
    assert expected.shape[-1] == target.dim
    found = target((images - 100) / 50, rows, columns)
    # scikit-image sums votes in float32. No direction of noise lies on the edge of a bin, where
    # rounding would decide.
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_hog_of_pictures_in_float32():
    """Bytes have many gradients along the axes, on the edge of the first bin."""
    pictures = drawn(40, 48)  # more than are computed at a time
    windows = torch.tensor([[0, 0], [3, 3], [1, 2]]).expand(40, -1, -1)  # two in corners
    rows, columns = (places.flatten(1) for places in patch_coordinates(windows, 3))
    target = build(pictures, type='HOGTarget')
    found = target((pictures.float() - 100) / 50, rows, columns)
    expected = skimage_hog(pictures.double(), 8, 9, 8)[torch.arange(40)[:, None], rows, columns]
    # Normalising and undoing it costs 2e-5 of 255 at most, where differences are 1 at least.
    torch.testing.assert_close(found, expected.float(), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ('model', 'stride', 'settings'),
    [
        ('vit_tiny_patch16_224', 16, dict(embed_dim=24, depth=2, num_heads=2)),
        ('swin_tiny_patch4_window7_224', 8, dict(embed_dim=12, depths=(2, 2), num_heads=(2, 2))),
        ('convnext_atto', 32, dict(depths=(1, 1, 1, 1), dims=(8, 8, 16, 24))),
    ],
)
def test_features_are_those_of_the_teacher(model, stride, settings, tmp_path):
    """Tokens, a map with channels last and one with channels first; from a file."""
    images = noise(2, 3, 64, 96).float()
    flexible = dict(vit=dict(dynamic_img_size=True), swin=dict(strict_img_size=False))
    settings = {**settings, **flexible.get(model[: model.index('_')], {})}
    theirs = randomised(timm.create_model(model, **settings)).eval()
    torch.save({'state_dict': theirs.state_dict()}, tmp_path / 'teacher.pth')
    target = teacher_of(
        images,
        teacher=dict(type='TIMMBackbone', model_name=model, **settings),
        weights=str(tmp_path / 'teacher.pth'),
        stride=stride,
        mean=[120.0, 110.0, 100.0],
        std=[60.0],
    )
    rows, columns = everywhere(images, 8)
    found = target((images - 100) / 50, rows, columns)
    shown = (images - torch.tensor([120.0, 110.0, 100.0]).view(-1, 1, 1)) / 60
    if stride != 8:
        size = (8 * stride, 12 * stride)
        shown = F.interpolate(shown, size, mode='bicubic', antialias=True)
    with torch.no_grad():
        features = theirs.forward_features(shown)
    if features.ndim == 3:
        features = features[:, 1:].unflatten(1, (8, 12))
    elif features.shape[1] == target.dim:
        features = features.permute(0, 2, 3, 1)
    expected = F.layer_norm(features, (target.dim,))[torch.arange(2)[:, None], rows, columns]
    # Float32 on both sides; pixels are normalised in another order.
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert 0.9 < found.std() < 1.1


def test_a_lomar_encoder_is_a_teacher(tmp_path):
    student = randomised(tiny_lomar())
    torch.save({'state_dict': student.state_dict()}, tmp_path / 'lomar.pth')
    images = noise(2, 3, 64, 96).float()
    target = teacher_of(images, weights=str(tmp_path / 'lomar.pth'), normalise=False)
    images = (images - 100) / 50
    rows, columns = everywhere(images, 8)
    with torch.no_grad():
        tokens = student(images)[0][:, 1:].unflatten(1, (8, 12))
    expected = tokens[torch.arange(2)[:, None], rows, columns]
    # Float32; the normalisation is undone and done again.
    torch.testing.assert_close(target(images, rows, columns), expected, atol=1e-3, rtol=0)


def test_losses():
    prediction, target = torch.tensor([[3.0, 0.0], [0.0, 0.5]]), torch.tensor([[1.0, 0], [0, 1]])
    smooth = teacher_of().patch_loss(prediction, target)
    assert smooth.tolist() == [0.75, 0.0625]  # (2 - 0.5) / 2 and 0.5 * 0.5^2 / 2
    cosine = teacher_of(loss='cosine').patch_loss(prediction, -target)
    assert cosine.tolist() == [2, 2]


def test_a_teacher_is_frozen():
    init_default_scope('mmpretrain')
    model = with_target(TARGET_CONFIGS['teacher']).train()
    teacher = model.head.target.teacher
    before = {name: value.clone() for name, value in teacher.named_buffers()}
    assert len(before) > 20
    assert not any(module.training for module in teacher.modules())
    assert not any(
        'teacher' in name for name in (*model.state_dict(), *dict(model.named_parameters()))
    )
    model.load_state_dict(model.state_dict())
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=0.05)
    wrapper = build_optim_wrapper(
        model, dict(type='OptimWrapper', constructor='LayerGroups', optimizer=optimizer)
    )
    trained = sum(len(group['params']) for group in wrapper.optimizer.param_groups)
    assert trained == len(list(model.parameters()))
    model.train_step({'inputs': noise(2, 3, 64, 64).float() / 255}, wrapper)
    assert all(value.equal(before[name]) for name, value in teacher.named_buffers())
    assert {value.device.type for value in model.to('meta').head.target.teacher.buffers()} == {
        'meta'
    }


@pytest.mark.parametrize('target', TARGET_CONFIGS.values())
def test_targets_are_in_no_checkpoint_and_follow_the_model(target):
    model, pixels = with_target(target), with_target(dict(type='PixelTarget'))
    assert model.state_dict().keys() == pixels.state_dict().keys()
    target = model.to('meta').head.target
    assert {'normalisation.mean', 'normalisation.std'} <= dict(target.named_buffers()).keys()
    assert all(buffer.is_meta for buffer in target.buffers())


@pytest.mark.parametrize(
    'target', [*TARGET_CONFIGS.values(), dict(TARGET_CONFIGS['teacher'], teacher=MMPRETRAIN)]
)
def test_images_of_several_sizes(target):
    model = with_target(target)
    images = [noise(3, *size).float() / 255 for size in ((64, 64), (40, 72), (64, 64))]
    windows, masked = model.sample(images, torch.Generator().manual_seed(0))
    together = model.window_loss(images, model.predict(images, windows, masked), windows, masked)
    alone = []
    for image, *place in zip(images, windows, masked, strict=True):
        place = [each[None] for each in place]
        alone.append(model.window_loss(image[None], model.predict(image[None], *place), *place))
    # Float32 sums in another order.
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-5, atol=0)


def check_it_learns(cfg):
    """Forty steps on windows of two pictures beat the best answer that is the same for all."""
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model, data = MODELS.build(cfg.model), {'inputs': drawn(2)}
    wrapper, losses = build_optim_wrapper(model, cfg.optim_wrapper), []
    for _ in range(40):
        torch.manual_seed(1)  # the same windows, or it would take longer
        losses.append(model.train_step(data, wrapper)['loss'].item())
    images = model.data_preprocessor(data)['inputs']
    targets = model.head.target(images, *everywhere(images, model.backbone.patch_size))
    same = targets.mean(dim=(0, 1)).expand_as(targets)
    assert losses[-1] < 0.95 * model.head.target.patch_loss(same, targets).mean()
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize('kind', ['maskfeat', 'distil'])
def test_toy_configs_learn(kind):
    name = f'lomar-{kind}_vit-tiny-p8_1xb32-coslr-8e_shapes.py'
    check_it_learns(Config.fromfile(ROOT / 'mmconfigs/shapes' / name))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(type='HOGTarget', cell=5), r'head\.target\.cell is 5; .* backbone\.patch_size=8'),
        (dict(type='HOGTarget', orientations=0), r'head\.target\.orientations is 0; allowed: 1'),
        (dict(loss='l1'), r"head\.target\.loss is 'l1'; allowed: smooth_l1, cosine"),
        (dict(weights=None), r'head\.target\.weights is missing; allowed: .*random'),
        (dict(weights='no.pth'), r'head\.target\.weights: no\.pth does not exist'),
        (dict(mean=[1, 2]), r'head\.target\.mean is \[1, 2\]; .* each of the 3'),
        (dict(stride=16), r'stride is 16: .*128 x 128 .*map of 16 x 16, .* 8 x 8 .*allowed: 8,'),
        (dict(stride=0), r'head\.target\.stride is 0; allowed: 1'),
        (dict(teacher=dict(RPEVIT, out_type='raw')), r"answers with \(1, 65, 48\).*'featmap'"),
        (
            dict(teacher=dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224'), stride=16),
            r'128 x 128 pixels.*stride=16: Input height .*224.* dynamic_img_size=True',
        ),
    ],
)
def test_what_does_not_fit_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        teacher_of(**settings)


def test_weights_have_to_be_all_of_the_teachers(tmp_path):
    vit = dict(img_size=64, patch_size=8, embed_dim=24, num_heads=2)
    weights = timm.create_model('vit_tiny_patch16_224', depth=3, **vit).state_dict()
    path = tmp_path / 'vit.pth'
    torch.save({f'backbone.{name}': value for name, value in weights.items()}, path)

    def teacher(depth):
        network = dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224', depth=depth, **vit)
        return teacher_of(teacher=network, weights=str(path))

    assert teacher(3).dim == 24  # the classifier in the file is left out
    with pytest.raises(ValueError, match=r'vit\.pth: 12 weights .*blocks\.3\.norm1.*, 0 of it'):
        teacher(4)
    with pytest.raises(ValueError, match=r'vit\.pth: 0 weights .*, 12 of it .*blocks\.2\.norm1'):
        teacher(2)
    with pytest.raises(
        ValueError, match=r'head\.target\.weights: .*vit\.pth: .*do not fit the back'
    ):
        teacher_of(weights=str(path))


def test_flops_of_a_teacher_without_its_file():
    """FLOPs of a forward pass of ViT-B/16 over 197 tokens, without a backward pass."""
    name = 'pretrain/lomar{}_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'
    plain, distil = (
        count(Config.fromfile(ROOT / 'mmconfigs' / name.format(kind))) for kind in ('', '-distil')
    )
    teacher = 2 * 768**2 * 196 + 12 * (197 * 24 * 768**2 + 4 * 197**2 * 768)
    # 768 features are as many as pixels.
    assert distil.forward - plain.forward == pytest.approx(teacher, rel=1e-6)
    assert distil.step - plain.step == pytest.approx(teacher, rel=1e-6)


def test_the_target_of_the_document(tmp_path, monkeypatch):
    """What docs/targets.md prints is written to files as it says, and learns."""
    text = (ROOT / 'docs/targets.md').read_text()
    blocks = re.findall(r'```python\n# (\S+)\n(.*?)```', text, re.DOTALL)
    assert [name for name, _ in blocks] == ['blurred.py', 'lomar-blurred.py']
    for name, code in blocks:
        (tmp_path / name).write_text(code)
    (tmp_path / 'mmconfigs').symlink_to(ROOT / 'mmconfigs')
    monkeypatch.syspath_prepend(tmp_path)
    cfg = Config.fromfile(tmp_path / 'lomar-blurred.py')
    check_it_learns(cfg)
    with_pictures = MODELS.build(cfg.model)
    rows = reconstruct(with_pictures, drawn(1))
    assert list(rows[0].pictures) == ['input', 'windows and masks', 'prediction', 'composite']
    cfg.model.head.target.factor = 3
    with pytest.raises(ValueError, match=r'head\.target\.factor is 3; allowed: divisors of 4'):
        MODELS.build(cfg.model)
