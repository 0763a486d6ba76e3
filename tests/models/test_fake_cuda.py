"""Steps on a GPU that is not there: no device mismatch, nothing to wait for, no hidden copies."""

import contextlib
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from conftest import ROOT, TINY_ARCH
from fake_cuda import CUDA, backward, fake_cuda, moved, watched
from mmengine.config import Config
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from timm.optim import Lars
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException

from lomar.compat.amp import BFloat16OptimWrapper
from lomar.datasets.replay import seed_everything
from lomar.engine.finite_loss_hook import FiniteLossHook
from lomar.engine.probe import knn_predict
from lomar.engine.probe_hook import encode
from lomar.engine.step_guard import StepGuard
from lomar.engine.step_seed_hook import StepSeedHook
from lomar.engine.throughput_hook import ThroughputHook
from lomar.engine.unreadable_images_hook import UnreadableImagesHook
from lomar.models import flex_attention as flex
from lomar.visualization import ReconstructionHook, reconstruct

NARROW = dict(embed_dims=24, num_layers=1, num_heads=2, feedforward_channels=48)
RPEVIT = dict(type='RPEViT', arch=TINY_ARCH, img_size=64, patch_size=8, out_type='featmap')
TIMM = dict(type='TIMMBackbone', model_name='vit_tiny_patch16_224')
TIMM.update(embed_dim=24, depth=1, num_heads=2, dynamic_img_size=True)
TOKENIZERS = dict(
    patches=dict(type='PatchTokenizer'),
    dalle=dict(type='DALL-E', n_hid=8, n_blk_per_group=1, vocab_size=64),
    vqkd=dict(type='VQKD', encoder_config=dict(arch=NARROW, img_size=128), num_embed=64),
)
TARGETS = dict(
    pixels=dict(type='PixelTarget'),
    hog=dict(type='HOGTarget'),
    teacher=dict(type='TeacherTarget', teacher=RPEVIT, weights='random', stride=8),
    timm=dict(type='TeacherTarget', teacher=TIMM, weights='random', stride=16),
    **{
        name: dict(type='TokenTarget', tokenizer=tokenizer, weights='random')
        for name, tokenizer in TOKENIZERS.items()
    },
)
WINDOWS = dict(
    image=dict(),
    batch=dict(sampling='batch'),
    block=dict(masking='block'),
    sizes=dict(size=[2, 3], number=[3, 2]),
)
# Every window setting with pixels, and every target with windows of two sizes.
PRETRAINING = [(windows, 'pixels') for windows in WINDOWS]
PRETRAINING += [('sizes', target) for target in list(TARGETS)[1:]]
MIXED = [(64, 64), (48, 96), (64, 64)]


def load(name):
    cfg = Config.fromfile(ROOT / 'mmconfigs' / name)
    init_default_scope(cfg.default_scope)
    return cfg


def lomar(windows='image', target='pixels'):
    cfg = load('pretrain/lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k.py')
    cfg.model.backbone.update(arch=TINY_ARCH, img_size=64, patch_size=8)
    cfg.model.windows = {**dict(size=3, number=2), **WINDOWS[windows]}
    cfg.model.head = dict(type='WindowHead', target=TARGETS[target])
    return cfg


def uint8(*shape):
    return torch.zeros(shape, dtype=torch.uint8)


def train(cfg, batch):
    """What a step of training waits for, the optimizer's update included."""
    model = MODELS.build(cfg.model).train()
    with fake_cuda():
        moved(model)
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        kind = AmpOptimWrapper if cfg.optim_wrapper.get('dtype') else BFloat16OptimWrapper
        assert isinstance(wrapper, kind)
        if cfg.optim_wrapper.optimizer.get('fused'):  # others need a number on the CPU
            StepGuard(wrapper, freezes=True)
        found = watched(lambda: model.train_step(batch(), wrapper), model.data_preprocessor)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert len(wrapper.optimizer.state) == len(trained), 'a parameter without a gradient'
    return found


@pytest.mark.parametrize('mixed', [False, True], ids=['one size', 'mixed sizes'])
@pytest.mark.parametrize(('windows', 'target'), PRETRAINING)
def test_pretraining(windows, target, mixed):
    def batch():
        return dict(inputs=[uint8(3, *size) for size in MIXED] if mixed else uint8(2, 3, 64, 64))

    assert train(lomar(windows, target), batch) == []


@pytest.mark.parametrize('target', ['pixels', 'patches'])  # those that can be drawn
def test_pictures(target):
    model = MODELS.build(lomar('sizes', target).model)
    with (
        fake_cuda(),
        mock.patch('lomar.visualization.reconstruction.undisturbed', contextlib.nullcontext),
    ):
        row = reconstruct(moved(model), uint8(1, 3, 64, 64))[0]
        assert {picture.device.type for picture in row.pictures.values()} == {'cpu'}
        assert len(row.pictures) == 4


def test_float16():
    """Losses are scaled, and gradients checked for infinities, without asking the GPU."""
    cfg = lomar()
    cfg.optim_wrapper.dtype = 'float16'
    assert train(cfg, lambda: dict(inputs=uint8(2, 3, 64, 64))) == []


def test_mae():
    cfg = load('pretrain/mae_vit-base-p16_8xb512-amp-coslr-400e_in1k.py')
    cfg.model.backbone.update(arch=NARROW, img_size=64)
    cfg.model.neck.update(num_patches=16, embed_dim=24, decoder_embed_dim=16)
    cfg.model.neck.update(decoder_depth=1, decoder_num_heads=2)
    assert train(cfg, lambda: dict(inputs=uint8(2, 3, 64, 64), data_samples=None)) == []


def labelled():
    samples = [DataSample() for _ in range(4)]
    for sample in samples:
        sample.set_gt_label(torch.zeros(1, dtype=torch.long))
    return dict(inputs=uint8(4, 3, 64, 64), data_samples=samples)


@pytest.mark.parametrize('name', ['lomar_8xb128', 'mae_8xb128', 'lomar_8xb2048'])
@pytest.mark.parametrize('mix', ['Mixup', 'CutMix'])
def test_classification(name, mix):
    kind = 'linear-coslr-90e' if name.endswith('2048') else 'coslr-100e'
    cfg = load(f'classify/vit-b_{name}-amp-{kind}_in1k.py')
    cfg.model.backbone.update(arch=dict(embed_dim=24, depth=2, num_heads=2), img_size=64)
    cfg.model.head.update(in_channels=24, num_classes=3)
    cfg.model.data_preprocessor.num_classes = 3
    cfg.model.train_cfg = dict(augments=[dict(type=mix, alpha=0.8)])
    if 'linear' in kind:
        cfg.model.backbone.frozen_stages = 2 + 2
        cfg.model.neck.input_features = 24
        # mmpretrain's LARS reads two norms per parameter.
        cfg.optim_wrapper.optimizer = dict(type=Lars, lr=0.1, momentum=0.9, always_adapt=True)
    assert train(cfg, labelled) == []


def test_labels_and_mixing_are_mmpretrains():
    numbers = dict(mean=[1.0, 2, 3], std=[4.0, 5, 6], num_classes=3)
    numbers['batch_augments'] = dict(augments=[dict(type='Mixup', alpha=0.8)])
    init_default_scope('mmpretrain')
    results = []
    for kind in ('ClsDataPreprocessor', 'LabelledDataPreprocessor'):
        seed_everything((0,))
        data = labelled()
        data['inputs'] = torch.randint(256, (4, 3, 8, 8), dtype=torch.uint8)
        for label, sample in enumerate(data['data_samples']):
            sample.set_gt_label(label % 3)
        results.append(MODELS.build(dict(type=kind, **numbers))(data, training=True))
    theirs, ours = results
    assert ours['inputs'].equal(theirs['inputs'])
    for ours, theirs in zip(*(result['data_samples'] for result in results), strict=True):
        assert ours.gt_score.equal(theirs.gt_score) and ours.gt_label.equal(theirs.gt_label)


@pytest.mark.parametrize('position', ['irpe', 'absolute', 'absolute+decomposed'])
@pytest.mark.parametrize('with_cp', [False, True], ids=['', 'with_cp'])
def test_detector_backbone_and_pyramid(position, with_cp):
    """At 48 x 48 patches, whose global attention goes through in parts."""
    cfg = load('detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py')
    arch = dict(_delete_=True, embed_dim=24, depth=2, num_heads=2)
    cfg.merge_from_dict({'model.backbone': dict(arch=arch, img_size=768, position=position)})
    cfg.model.backbone.update(global_blocks=(1,), with_cp=with_cp)
    cfg.model.neck.update(in_channels=24, out_channels=8)
    parts = nn.ModuleDict({k: MODELS.build(cfg.model[k]) for k in ('backbone', 'neck')}).train()

    def step():
        with torch.autocast('cuda', torch.bfloat16):
            levels = parts['neck'](parts['backbone'](images))
        backward(sum(level.float().mean() for level in levels))

    with fake_cuda():
        moved(parts)
        images = torch.zeros(1, 3, 768, 768, device=CUDA)
        assert watched(step) == []
    assert all(parameter.grad is not None for parameter in parts.parameters())


def test_flex():
    """FlexAttention makes its gradients from a graph, for which a fake device is not enough."""
    settings = dict(RPEVIT, img_size=288, with_cls_token=False, flex=True)  # 36 x 36 patches
    backbone = MODELS.build(settings).eval()
    uncompiled = 'torch.nn.attention.flex_attention._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG'
    with (
        fake_cuda(),
        torch.no_grad(),
        mock.patch('lomar.models.flex_attention._compiled', lambda: flex._attend),
        mock.patch(uncompiled, True),
        mock.patch(
            'lomar.models.flex_attention.flex_attention', wraps=flex.flex_attention
        ) as attended,
    ):
        images = torch.zeros(1, 3, 288, 288, device=CUDA)
        assert watched(lambda: moved(backbone)(images)) == []
        assert attended.call_count == 2 * backbone.depth


def test_probe():
    """Encoding copies images; neighbours copy labels, once. L-BFGS reads every loss it computes."""
    model = MODELS.build(lomar().model).eval()
    with fake_cuda():
        moved(model)
        images = uint8(2, 3, 64, 64)
        assert watched(lambda: encode(model, images), model.data_preprocessor) == []
        features = torch.zeros(30, 48, device=CUDA)
        label = torch.tensor([2])  # a fake tensor of one number from the CPU knows it
        with mock.patch('lomar.engine.probe.PART', 8):
            found = watched(lambda: knn_predict(features[:1], label, features, k=1))
    assert len(found) == 1 and 'labels.to(train.device)' in found[0]


def test_hooks():
    hub = MessageHub.get_instance('fake')
    for key in ('train/time', 'train/data_time'):
        hub.update_scalar(key, 0.5)
    batches = SimpleNamespace(batch_size=2)
    loader = SimpleNamespace(batch_sampler=batches, dataset=range(9))
    runner = SimpleNamespace(seed=0, iter=0, max_iters=9, message_hub=hub, train_dataloader=loader)
    runner.hooks = []
    batch = dict(inputs=uint8(1), data_samples=[DataSample()])
    hooks = [StepSeedHook(), ThroughputHook(), UnreadableImagesHook(), ReconstructionHook()]
    hooks.append(FiniteLossHook())

    def step():
        for hook in hooks:
            hook.before_train_iter(runner, 0, batch)
        for hook in hooks:
            hook.after_train_iter(runner, 0, batch, dict(loss=loss))

    with fake_cuda(), mock.patch('torch.cuda.manual_seed_all') as seeded:
        loss = torch.zeros((), device=CUDA)
        assert watched(step) == [] and seeded.call_count == 2
        # mmengine writes every loss into the log's history: the one wait of a step.
        with pytest.raises(DataDependentOutputException):
            RuntimeInfoHook().after_train_iter(runner, 0, batch, dict(loss=loss))


def test_every_config():
    """Batches are copied from pinned memory; cuDNN searches where images have one size."""
    folder, searching = ROOT / 'mmconfigs', 0
    names = [path.relative_to(folder) for path in folder.rglob('*.py')]
    names = [str(name) for name in names if name.parts[0] != '_base_']
    for name in names:
        cfg = load(name)
        if cfg.default_scope != 'mmseg':  # whose preprocessor has no such argument
            assert MODELS.build(cfg.model.data_preprocessor)._non_blocking is True, name
        one_size = cfg.default_scope == 'mmpretrain' and 'native' not in name
        assert cfg.env_cfg.cudnn_benchmark is one_size, name
        searching += one_size
    assert searching > 40 and len(names) > searching + 20
