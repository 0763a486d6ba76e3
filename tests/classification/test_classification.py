"""Fine-tuning and linear probing: configs, labelled images, accuracy, a step, the commands."""

import json
import math
import re
import shutil
from copy import deepcopy

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, default_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import (
    DATASETS,
    METRICS,
    MODELS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    init_default_scope,
)
from mmpretrain.structures import DataSample
from PIL import Image
from processes import run_lomar
from sklearn.metrics import accuracy_score, confusion_matrix, top_k_accuracy_score
from torch import nn
from torch.nn import functional as F

from lomar.checkpoints import load_file
from lomar.classification import LabelledImages, read_labelled
from lomar.cli import parse_args
from lomar.datasets.shapes import make_shapes
from lomar.engine import Runner, train_config
from lomar.engine.schedule import resolve_schedule
from tests.recipes.resolved import length

CONFIGS = sorted(path.name for path in (ROOT / 'mmconfigs/classify').glob('*.py'))
TOY = 'shapes/vit-tiny_lomar_1xb32-coslr-16e_shapes.py'
TINY = ('model.backbone.arch.embed_dim=32', 'model.head.in_channels=32')
NAME = re.compile(
    r'vit-(?P<size>[blh])(-p(?P<patch>\d+))?_(?P<init>lomar|mae|scratch)_8xb(?P<batch>\d+)-amp-'
    r'(?P<linear>linear-)?coslr-(?P<epochs>\d+)e_in1k(-(?P<px>\d+)px)?\.py'
)
# MAE's fine-tuning: architecture, width, drop path, layer decay, epochs, rate for 1024 images.
SIZES = dict(
    b=('base', 768, 0.1, 0.65, 100, 5e-4 * 4),
    l=('large', 1024, 0.2, 0.75, 50, 1e-3 * 4),
    h=('huge', 1280, 0.3, 0.75, 50, 1e-3 * 4),
)


def load(name):
    cfg = Config.fromfile(ROOT / 'mmconfigs' / name)
    init_default_scope(cfg.default_scope)
    return cfg


def shrink(cfg):
    """The same model, narrow and shallow, for three classes."""
    backbone = cfg.model.backbone
    frozen = backbone.get('frozen_stages', 0) and 2 + 2
    backbone.update(arch=dict(embed_dim=24, depth=2, num_heads=2), frozen_stages=frozen)
    cfg.model.head.update(in_channels=24, num_classes=3)
    cfg.model.data_preprocessor.num_classes = 3
    if cfg.model.get('neck'):
        cfg.model.neck.input_features = 24


@pytest.fixture
def folders(photographs, tmp_path):
    """Class folders: three classes with two, four and two images."""
    root = tmp_path / 'classes'
    for index, path in enumerate(sorted(photographs.iterdir())):
        folder = root / ('cat', 'dog', 'dog', 'eel')[index % 4] / 'deeper'
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder)
    return root


def test_there_are_configs():
    assert len(CONFIGS) == 18


@pytest.mark.parametrize('name', CONFIGS)
def test_name_and_content_agree(name):
    cfg = load(f'classify/{name}')
    said = NAME.fullmatch(name)
    backbone, loader, head = cfg.model.backbone, cfg.train_dataloader, cfg.model.head
    arch, width, drop_path, decay, epochs, rate = SIZES[said['size']]
    side, patch, linear = int(said['px'] or 224), int(said['patch'] or 16), bool(said['linear'])
    assert (backbone.arch, backbone.patch_size, head.in_channels) == (arch, patch, width)
    assert backbone.get('position', 'irpe') == ('absolute' if said['init'] == 'mae' else 'irpe')
    assert (cfg.load_from is None) == (said['init'] == 'scratch')
    assert said['init'] == 'scratch' or said['init'] in cfg.load_from
    assert loader.batch_size == int(said['batch'])
    assert cfg.auto_scale_lr.base_batch_size == 8 * loader.batch_size
    assert cfg.train_cfg.max_epochs == int(said['epochs']) == (90 if linear else epochs)
    warm_up, cosine = resolve_schedule(cfg.param_scheduler, length(cfg))
    assert warm_up['end'] == cosine['begin'] == (10 if linear else 5)
    steps = {step.type: step for step in loader.dataset.pipeline}
    tests = {step.type: step for step in cfg.val_dataloader.dataset.pipeline}
    assert backbone.img_size == steps['LoadRandomResizedCrop'].scale == side
    assert tests['CenterCrop'].crop_size == side
    assert tests['ResizeEdge'].scale == (256 if side == 224 else side)
    optimizer, groups = cfg.optim_wrapper.optimizer, cfg.optim_wrapper.get('paramwise_cfg', {})
    if linear:
        assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('Lars', 6.4, 0)
        assert not {'TimmRandAugment', 'RandomErasing'} & set(steps) and not cfg.model.train_cfg
    else:
        assert (optimizer.type, optimizer.lr) == ('AdamW', rate)
        assert (groups.layer_decay, backbone.drop_path_rate) == (decay, drop_path)
        assert ('backbone.pos_embed' in groups.no_decay) == (said['init'] == 'mae')
        assert steps['TimmRandAugment'].size == side


@pytest.mark.parametrize('name', [*(f'classify/{name}' for name in CONFIGS), TOY])
def test_takes_a_step_of_training_and_of_testing(name, folders):
    cfg = load(name)
    shrink(cfg)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = deepcopy(model.state_dict())
    losses = []
    for split, step in (('train', model.train_step), ('val', model.val_step)):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = str(folders)
        dataset = DATASETS.build(dataset)
        batch = default_collate([dataset[0], dataset[3]])
        assert batch['inputs'][0].shape[1:] == (cfg.model.backbone.img_size,) * 2
        losses.append(step(batch, wrapper) if split == 'train' else step(batch))
    # Near ln 3: the last layer begins near zero.
    assert losses[0]['loss'].item() == pytest.approx(math.log(3), abs=0.15)
    assert all(sample.pred_score.sum().item() == pytest.approx(1, abs=1e-5) for sample in losses[1])
    changed = {key for key, value in model.state_dict().items() if not value.equal(before[key])}
    backbone = {key for key in changed if key.startswith('backbone.')}
    assert bool(backbone) != ('linear' in name) and 'head.fc.weight' in changed


def test_layer_groups_of_fine_tuning():
    cfg = load('classify/vit-b_mae_8xb128-amp-coslr-100e_in1k.py')
    cfg.model.backbone.arch = dict(embed_dim=12, depth=12, num_heads=2)
    cfg.model.head.in_channels = 12
    model = MODELS.build(cfg.model)
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    of = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
    of = {name: of[id(p)] for name, p in model.named_parameters()}
    # MAE's lr_decay: 0.65 ** (13 - layer), the embedding is layer 0, the last block layer 12.
    assert of['backbone.patch_embed.proj.weight'] == (pytest.approx(2e-3 * 0.65**13), 0.05)
    assert of['backbone.pos_embed'] == of['backbone.cls_token'] == (pytest.approx(7.4e-6, 1e-2), 0)
    assert of['backbone.blocks.0.attn.qkv.weight'] == (pytest.approx(2e-3 * 0.65**12), 0.05)
    assert of['backbone.blocks.11.mlp.fc2.bias'] == (pytest.approx(2e-3 * 0.65), 0.0)
    assert of['backbone.fc_norm.weight'] == of['head.fc.bias'] == (2e-3, 0.0)
    assert of['head.fc.weight'] == (2e-3, 0.05)


def official_rate(epoch, epochs, rate, lowest=1e-6, warmup=5):
    """MAE's and LoMaR's rate of the head; a layer's is its scale times this."""
    if epoch < warmup:
        return rate * epoch / warmup
    progress = (epoch - warmup) / (epochs - warmup)
    return lowest + (rate - lowest) * 0.5 * (1 + math.cos(math.pi * progress))


@pytest.mark.parametrize(
    ('name', 'depth'),
    [
        ('vit-b_lomar_8xb128-amp-coslr-100e_in1k.py', 12),
        ('vit-b_mae_8xb128-amp-coslr-100e_in1k-448px.py', 12),
        ('vit-l_lomar_8xb128-amp-coslr-50e_in1k.py', 24),
        ('vit-h-p14_mae_8xb128-amp-coslr-50e_in1k.py', 32),
    ],
)
def test_rates_of_layers_over_the_schedule(name, depth):
    """Real groups and schedulers in warm-up, in the middle and at the last step."""
    cfg = load(f'classify/{name}')
    _, _, _, decay, epochs, rate = SIZES[NAME.fullmatch(name)['size']]
    arch = dict(embed_dim=4, depth=depth, num_heads=1)
    cfg.model.backbone.update(arch=arch, img_size=28, patch_size=14)
    cfg.model.head.in_channels = 4
    model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    steps = 8  # per epoch
    resolved = resolve_schedule(cfg.param_scheduler, length(cfg, steps))
    given = dict(optimizer=optimizer)
    schedulers = [PARAM_SCHEDULERS.build(one, default_args=given) for one in resolved]
    group_of = {id(p): group for group in optimizer.param_groups for p in group['params']}
    layers = {
        'backbone.patch_embed.proj.weight': 0,
        f'backbone.blocks.{depth // 2}.mlp.fc1.weight': depth // 2 + 1,
        f'backbone.blocks.{depth - 1}.mlp.fc1.weight': depth,
        'head.fc.weight': depth + 1,
    }
    last = epochs * steps - 1
    for step in range(last + 1):
        for parameter, layer in layers.items() if step in (19, last // 2, last) else ():
            scale = decay ** (depth + 1 - layer)
            expected = scale * official_rate(step / steps, epochs, rate)
            # mmengine's warm-up begins at 1e-4 of the rate instead of 0 and ends a step earlier.
            early = scale * rate * (1e-4 + 1 / (5 * steps)) if step < 5 * steps else 0
            found = group_of[id(model.get_parameter(parameter))]['lr']
            assert found == pytest.approx(expected, rel=1e-6, abs=early), (parameter, step)
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


@pytest.mark.parametrize('vectors', [5, dict(allways_adapt=False), dict(lr=1.0)])
def test_options_that_the_optimizer_would_ignore(vectors):
    optimizer = dict(type='Lars', lr=1.0, always_adapt=True)
    wrapper = dict(optimizer=optimizer, constructor='LayerGroups')
    wrapper['paramwise_cfg'] = dict(vectors=vectors)
    with pytest.raises(ValueError, match=r'vectors is .*; allowed for .* Lars: .*always_adapt'):
        build_optim_wrapper(torch.nn.Linear(2, 2), wrapper)


def test_the_lowest_rate_does_not_follow_the_batch(folders, tmp_path):
    """`--auto-scale-lr` scales the rate, not the 1e-6 at the end of MAE's recipe."""
    data = ['--train-images', str(folders), '--val-images', str(folders)]
    options = ['load_from=None', 'train_dataloader.batch_size=4', *TINY]
    line = [*data, '--auto-scale-lr', '--work-dir', str(tmp_path), '--cfg-options', *options]
    cfg = train_config(parse_args(['train', str(ROOT / 'mmconfigs' / TOY), *line]))
    runner = Runner.from_cfg(cfg)
    lowest = cfg.optim_wrapper.optimizer.lr * cfg.param_scheduler[1].eta_min_ratio
    wrapper = runner.build_optim_wrapper(cfg.optim_wrapper)
    runner.scale_lr(wrapper, runner.auto_scale_lr)
    highest = max(group['lr'] for group in wrapper.optimizer.param_groups)
    assert highest == pytest.approx(cfg.optim_wrapper.optimizer.lr * 4 / 32)
    assert highest * runner.param_schedulers[1]['eta_min_ratio'] == pytest.approx(lowest)


def test_lars_of_the_linear_probe():
    """MAE's: weights move by a trusted share of their length, biases by their gradients."""
    cfg = load('classify/vit-b_mae_8xb2048-amp-linear-coslr-90e_in1k.py')
    shrink(cfg)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    layer = model.head.fc
    nn.init.normal_(layer.bias)
    expected = {name: p.detach().clone() for name, p in layer.named_parameters()}
    momentum = {name: torch.zeros_like(p) for name, p in expected.items()}
    for rate in (6.4, 3.2):  # the momentum does not remember the rate
        for group in optimizer.param_groups:
            group['lr'] = rate
        for name, parameter in layer.named_parameters():
            step = parameter.grad = torch.randn_like(parameter)
            if name == 'weight':
                step = step * 0.001 * expected[name].norm() / step.norm()
            momentum[name] = 0.9 * momentum[name] + step
            expected[name] -= rate * momentum[name]
        optimizer.step()
    found = {name: p.detach() for name, p in layer.named_parameters()}
    torch.testing.assert_close(found, expected)


def test_a_step_equals_plain_pytorch():
    """Loss and weights after a step with smoothing, layer decay and AdamW, written out."""
    cfg = load('classify/vit-b_lomar_8xb128-amp-coslr-100e_in1k.py')
    shrink(cfg)
    cfg.model.train_cfg, cfg.model.backbone.drop_path_rate = None, 0.0
    cfg.model.backbone.img_size, cfg.optim_wrapper.type = 32, 'OptimWrapper'
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    nn.init.normal_(model.head.fc.weight)
    plain = deepcopy(model)
    images, labels = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), [0, 2, 1, 1]
    samples = [dict(inputs=image) for image in images]
    for sample, label in zip(samples, labels, strict=True):
        sample['data_samples'] = DataSample().set_gt_label(label)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    loss = model.train_step(default_collate(samples), wrapper)['loss']

    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    std = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    logits = F.linear(
        plain.backbone((images - mean) / std)[0], plain.head.fc.weight, plain.head.fc.bias
    )
    expected = F.cross_entropy(logits, torch.tensor(labels), label_smoothing=0.1)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    groups = []
    for name, parameter in plain.named_parameters():
        layer = 3
        if name.startswith('backbone.blocks.'):
            layer = int(name.split('.')[2]) + 1
        elif name.startswith(('backbone.patch_embed', 'backbone.cls_token')):
            layer = 0
        decay = 0.05 if parameter.ndim > 1 and 'cls_token' not in name else 0.0
        groups.append(dict(params=[parameter], lr=2e-3 * 0.65 ** (3 - layer), weight_decay=decay))
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999))
    expected.backward()
    optimizer.step()
    torch.testing.assert_close(model.state_dict(), plain.state_dict(), rtol=1e-5, atol=1e-7)


def test_randaugment_at_its_largest_magnitude():
    """Posterizing keeps 0 bits then, a black image: of one image in some 660 of the recipe."""
    augment = TRANSFORMS.build(dict(type='TimmRandAugment', policy='rand-m10-inc1', size=32))
    image = np.full((32, 32, 3), 200, np.uint8)
    (posterize,) = [one for one in augment.augment.ops if 'Posterize' in one.name]
    posterize.prob = 1.0
    assert not np.asarray(posterize(Image.fromarray(image))).any()
    posterize.magnitude = 5
    assert np.asarray(posterize(Image.fromarray(image))).max() == 192  # two bits


def test_recipe_with_mixing_on_ones_own_classes(folders):
    config = ROOT / 'mmconfigs/classify/vit-b_lomar_8xb128-amp-coslr-100e_in1k.py'
    line = [str(config), '--train-images', str(folders), '--val-images', str(folders)]
    cfg = train_config(parse_args(['train', *line, '--cfg-options', 'load_from=None']))
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.update(arch=dict(embed_dim=4, depth=1, num_heads=1), img_size=32)
    cfg.model.head.in_channels = 4
    model = MODELS.build(cfg.model)
    samples = [DataSample().set_gt_label(label) for label in (0, 1, 2, 1)]
    data = dict(inputs=torch.zeros(4, 3, 32, 32, dtype=torch.uint8), data_samples=samples)
    mixed = model.data_preprocessor(data, training=True)
    assert model(**mixed, mode='loss')['loss'].isfinite()


def test_folders_and_lists(folders, tmp_path):
    def labels(root, **kwargs):
        dataset = LabelledImages(data_root=str(root), pipeline=[], **kwargs)
        return dataset.metainfo['classes'], [one['gt_label'] for one in dataset.load_data_list()]

    assert labels(folders) == (('cat', 'dog', 'eel'), [0, 0, 1, 1, 1, 1, 2, 2])
    balanced = ClassBalancedDataset(LabelledImages(str(folders), []), oversample_thr=0.5)
    repeated = [balanced.get_cat_ids(index)[0] for index in range(len(balanced))]
    assert [repeated.count(label) for label in range(3)] == [4, 4, 4]
    names = [path.relative_to(tmp_path) for path in sorted(folders.rglob('*.jpg'))]
    listed = tmp_path / 'list.txt'
    listed.write_text(f'{names[0]}\ttabby cat\n\n{names[1]}\tzebra\n{names[2]} zebra\n')
    assert labels(listed) == (('tabby cat', 'zebra'), [0, 1, 1])
    order = dict(classes=['zebra', 'tabby cat', 'gnu'])
    assert labels(listed, metainfo=order) == (('zebra', 'tabby cat', 'gnu'), [1, 0, 0])
    with pytest.raises(ValueError, match=r"1 classes that the model is not .* such as \['zebra'\]"):
        labels(listed, metainfo=dict(classes=['tabby cat']))
    (tmp_path / '\udcfc.jpg').touch()
    listed.write_bytes(b'\xef\xbb\xbf\xfc.jpg\tzebra\r\n')  # as written on Windows
    assert read_labelled(listed) == (['zebra'], [(str(tmp_path / '\udcfc.jpg'), 'zebra')])
    listed.write_text('alone.jpg\n')
    with pytest.raises(ValueError, match=r'(?s)list.txt: .* line 1: alone.jpg\nAllowed'):
        read_labelled(listed)
    (folders / 'fox').mkdir()
    with pytest.raises(FileNotFoundError, match=r"have no image of their own, such as \['fox'\]"):
        read_labelled(folders)
    with pytest.raises(FileNotFoundError, match='there are no class folders in'):
        read_labelled(folders / 'fox')
    with pytest.raises(FileNotFoundError, match=r"No such file or directory: '.*nowhere'"):
        read_labelled(tmp_path / 'nowhere')


def test_a_broken_image_is_replaced_in_training_and_named_in_testing(folders):
    broken = next(folders.rglob('*.jpg'))
    broken.write_bytes(b'no image')
    pipeline = [dict(type='LoadImage'), dict(type='PackInputs')]
    init_default_scope('mmpretrain')
    for test_mode in (False, True):
        if test_mode:
            with pytest.raises(OSError, match=rf'1 of 8 images .*\n.*{broken.name}'):
                LabelledImages(str(folders), pipeline, test_mode=True)
            continue
        dataset = LabelledImages(str(folders), pipeline)
        index = [one['img_path'] for one in dataset.load_data_list()].index(str(broken))
        assert str(broken) in dataset[index]['data_samples'].unreadable


def test_accuracy_equals_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    scores, labels = rng.random((50, 7)), rng.integers(0, 6, 50)  # the last class has no image
    metric = METRICS.build(dict(type='ClassAccuracy', out=str(tmp_path)))
    metric.dataset_meta = dict(classes=list('abcdefg'))
    samples = [
        dict(pred_score=torch.from_numpy(score), gt_label=torch.tensor([label]))
        for score, label in zip(scores, labels, strict=True)
    ]
    metric.process({}, samples)
    figures = metric.evaluate(50)
    top5 = top_k_accuracy_score(labels, scores, k=5, labels=range(7))
    assert figures['accuracy/top1'] == pytest.approx(100 * accuracy_score(labels, scores.argmax(1)))
    assert figures['accuracy/top5'] == pytest.approx(100 * top5)
    written = json.loads((tmp_path / 'accuracy.json').read_text())
    matrix = confusion_matrix(labels, scores.argmax(1), labels=range(7))
    assert written['confusion'] == matrix.tolist()
    assert written['per_class']['b'] == pytest.approx(100 * matrix[1, 1] / matrix[1].sum())
    assert written['per_class']['g'] is None and (tmp_path / 'confusion.png').exists()


@pytest.mark.slow
def test_the_commands(tmp_path):
    """Train on class folders, test on a list without one of the classes."""
    make_shapes(tmp_path / 'shapes', 48, 12, 64, 0, workers=1, categories='texture')
    lists = tmp_path / 'shapes/annotations'
    folders = tmp_path / 'folders'
    for line in (lists / 'train.txt').read_text().splitlines():
        name, category = line.split('\t')
        (folders / category).mkdir(parents=True, exist_ok=True)
        shutil.copy(lists / name, folders / category)
    lines = [line for line in (lists / 'val.txt').read_text().splitlines() if 'dotted' not in line]
    (lists / 'val.txt').write_text('\n'.join(lines))

    def run(command, *arguments, code=0):
        done = run_lomar(command, ROOT / 'mmconfigs' / TOY, *arguments)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    options = ('--cfg-options', *TINY, 'load_from=None', 'train_cfg.max_epochs=2')
    val = ('--val-images', lists / 'val.txt')
    run('train', '--work-dir', tmp_path, '--train-images', folders, *val, *options)
    checkpoint = tmp_path / 'epoch_2.pth'
    meta = load_file(checkpoint)['meta']['dataset_meta']
    assert list(meta['classes']) == ['checked', 'dotted', 'striped']
    test = (checkpoint, *val, '--work-dir', tmp_path / 'test')
    text = run('test', *test, '--out', tmp_path / 'out', '--cfg-options', *TINY)
    written = json.loads((tmp_path / 'out/accuracy.json').read_text())
    assert written['per_class']['dotted'] is None and sum(map(sum, written['confusion'])) == len(
        lines
    )
    metrics = json.loads((tmp_path / 'test/metrics.json').read_text())
    assert metrics['metrics']['accuracy']['top1'] == written['top1'] and 'accuracy/top1' in text
    wrong = ('--cfg-options', *TINY, 'model.backbone.arch.depth=3')
    text = run('test', *test, *wrong, code=1)
    assert (
        f'lomar test: {checkpoint}: the weights do not fit the model' in text
        and 'Traceback' not in text
    )
    text = run('test', *test, '--tta', code=1)
    assert '--show, --show-dir and --tta belong to detection configs' in text
    text = run('train', '--work-dir', tmp_path, *val, *options, code=1)
    assert "No such file or directory: 'data/shapes/annotations/train.txt'" in text
