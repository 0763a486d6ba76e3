"""FLOPs against arithmetic on paper, hours against arithmetic in the head, the command."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from torch.utils.flop_counter import FlopCounterMode

from lomar.cli import main
from lomar.cost import hours as cost
from lomar.cost.flops import ImageFlops, count, flops_of, regions_of_file
from lomar.models import RPEViT

CONFIGS = [
    'lomar_pretrain.py',
    *sorted(
        path.relative_to(ROOT / 'mmconfigs').as_posix()
        for folder in ('pretrain', 'classify', 'detect')
        for path in (ROOT / 'mmconfigs' / folder).glob('*.py')
    ),
]
# Position biases can be made in ways of equal result whose products differ by parts of a percent.
TOLERANCE = 0.02
G = 1e9


def load(name, **options):
    cfg = Config.fromfile(ROOT / 'mmconfigs' / name)
    cfg.merge_from_dict(options)
    return cfg


COUNTED = {}


@pytest.fixture
def counted_once(monkeypatch):
    """Configs that differ in their schedule alone have the same FLOPs."""

    def remembered(cfg):
        key = str((cfg.model, regions_of_file(cfg)))
        if key not in COUNTED:
            COUNTED[key] = count(cfg)
        return COUNTED[key]

    monkeypatch.setattr(cost, 'count', remembered)
    return remembered


def blocks(tokens, width, depth):
    """Forward FLOPs of transformer blocks: qkv, proj and MLP, then q k^T and attention v."""
    return depth * (tokens * 24 * width**2 + 4 * tokens**2 * width)


def lomar_forward(pixels):
    patches = 2 * 768**2 * 4 * 49  # only those of the windows are embedded, at any image size
    positions = 12 * 4 * 50 * 2 * 50 * 768
    return patches + 4 * blocks(50, 768, 12) + positions + 2 * 768**2 * 4 * 39


def mae_forward(pixels):
    patches = (pixels // 16) ** 2
    seen = patches // 4 + 1
    decoder = 2 * 768 * 512 * seen + blocks(patches + 1, 512, 8) + 2 * 512 * 768 * (patches + 1)
    return 2 * 768**2 * patches + blocks(seen, 768, 12) + decoder


@pytest.mark.parametrize(
    ('name', 'pixels', 'forward', 'step'),
    [
        ('lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k', 224, lomar_forward, 104.8),
        ('lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k-384px', 384, lomar_forward, 104.8),
        ('lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k-448px', 448, lomar_forward, 104.8),
        ('mae_vit-base-p16_8xb512-amp-coslr-400e_in1k', 224, mae_forward, 58.5),
        ('mae_vit-base-p16_8xb512-amp-coslr-400e_in1k-448px', 384, mae_forward, 182.8),
        ('mae_vit-base-p16_8xb512-amp-coslr-400e_in1k-448px', 448, mae_forward, 257.7),
    ],
)
def test_pretraining_against_paper(name, pixels, forward, step, counted_once):
    options = {'model.backbone.img_size': pixels}
    if name.startswith('mae'):
        options['model.neck.num_patches'] = (pixels // 16) ** 2
    flops = counted_once(load(f'pretrain/{name}.py', **options))
    assert flops.forward == pytest.approx(forward(pixels), rel=TOLERANCE)
    assert flops.step == pytest.approx(step * G, rel=TOLERANCE)


def test_classifier_against_paper(counted_once):
    forward = 2 * 768**2 * 196 + blocks(197, 768, 12) + 2 * 768 * 1000
    flops = counted_once(load('classify/vit-b_mae_8xb128-amp-coslr-100e_in1k.py'))
    assert flops.forward == pytest.approx(forward, rel=1e-6)
    assert flops.forward == pytest.approx(35.2 * G, rel=TOLERANCE)
    # No gradient is computed for the pixels.
    assert flops.step == pytest.approx(3 * forward - 2 * 768**2 * 196, rel=1e-6)
    # A linear probe goes back through one layer, and not to its frozen inputs.
    probe = counted_once(load('classify/vit-b_mae_8xb2048-amp-linear-coslr-90e_in1k.py'))
    assert probe.step == pytest.approx(forward + 2 * 768 * 1000, rel=1e-6)


def test_detector_against_paper(counted_once):
    cfg = load('detect/mask-rcnn_vitdet-b_mae_lsj-100e_coco.py')
    with torch.device('meta'):
        backbone, images = RPEViT(**without_type(cfg.model.backbone)), torch.empty(1, 3, 1024, 1024)
        features, _ = flops_of(lambda: backbone(images))
    # 25 windows of 14 x 14 patches, of which some are padding, feed all but the MLP of 8 blocks.
    windowed = 8 * (4900 * (8 * 768**2 + 4 * 196 * 768) + 4096 * 16 * 768**2)
    assert features == pytest.approx(
        2 * 768**2 * 4096 + windowed + blocks(4096, 768, 4), rel=TOLERANCE
    )
    assert features == pytest.approx(961 * G, rel=TOLERANCE)

    def conv(pixels, channels, out, side=3):
        return 2 * pixels * channels * out * side**2

    levels = [(256 >> level) ** 2 for level in range(5)]
    up = conv(4096, 768, 384 * 4, 1)  # of a deconvolution that doubles the sides
    neck = 2 * up + conv(4 * 4096, 384, 192 * 4, 1)
    neck += sum(map(conv, levels[:4], (192, 384, 768, 768), (256,) * 4, (1,) * 4))
    neck += conv(sum(levels[:4]), 256, 256)
    rpn = 2 * conv(sum(levels), 256, 256) + conv(sum(levels), 256, 3 + 12, 1)
    box = 512 * (4 * conv(49, 256, 256) + 2 * (49 * 256 * 1024 + 1024 * (81 + 320)))
    mask = 128 * (4 * conv(196, 256, 256) + conv(196, 256, 256 * 4, 1) + conv(784, 256, 80, 1))
    flops = counted_once(cfg)
    assert flops.forward - features == pytest.approx(neck + rpn + box + mask, rel=1e-6)
    assert flops.step == pytest.approx(3 * flops.forward, rel=TOLERANCE)
    boxes_only = counted_once(load('detect/faster-rcnn_vitdet-b_mae_lsj-100e_coco.py'))
    assert flops.forward - boxes_only.forward == pytest.approx(mask, rel=1e-6)


def without_type(settings):
    return {key: value for key, value in settings.items() if key != 'type'}


@pytest.mark.parametrize('position', ['irpe', 'absolute', 'absolute+decomposed'])
def test_recomputation_is_no_model_flop(position):
    """Checkpointed blocks, and long attention, which always computes its parts again."""
    steps = {}
    with torch.device('meta'):
        for checkpointed in (False, True):
            model = RPEViT(
                arch=dict(embed_dim=24, depth=2, num_heads=2),
                img_size=512,
                patch_size=8,
                position=position,
                out_type='featmap',
                with_cls_token=False,
                with_cp=checkpointed,
            )
            images = torch.empty(1, 3, 512, 512)
            forward, (features,) = flops_of(lambda m=model, x=images: m(x))
            steps[checkpointed] = forward + flops_of(features.sum().backward)[0]
            with FlopCounterMode(display=False) as naive:
                model(images)[0].sum().backward()
            if checkpointed:
                assert naive.get_total_flops() > 1.2 * steps[checkpointed]
    assert steps[True] == steps[False]
    assert steps[True] == pytest.approx(3 * forward - 2 * 24 * 3 * 64 * 4096, rel=TOLERANCE)


def test_what_cannot_be_counted():
    cfg = load('detect/faster-rcnn_vitdet-b_mae_lsj-100e_coco.py')
    cfg.model.type = 'YOLOX'
    with pytest.raises(ValueError, match=r'model.type is YOLOX; FLOPs of detectors are counted'):
        count(cfg)
    cfg = load('lomar_pretrain.py')
    del cfg.model.backbone['img_size']
    with pytest.raises(ValueError, match=r'model.backbone.img_size is missing'):
        count(cfg)


@pytest.fixture
def plain(monkeypatch):
    """A config with round numbers: 1 TFLOP an image, 2 GPUs x 10 images x 5 steps."""
    monkeypatch.setattr(cost, 'count', lambda cfg: ImageFlops(0.4e12, 1e12))
    return Config(
        dict(
            default_scope='mmpretrain',
            model=dict(type='LoMaR', backbone=dict(img_size=64)),
            train_dataloader=dict(batch_size=10, dataset=dict(data_root='nowhere')),
            optim_wrapper=dict(accumulative_counts=5),
            train_cfg=dict(max_epochs=2),
            auto_scale_lr=dict(base_batch_size=100),
        )
    )


def test_hours_of_epochs(plain):
    speed = cost.Speed(tflops=1000, utilisation=0.5)
    one = cost.estimate('a', plain, speed, images=900_000)
    assert (one.gpus, one.effective_batch, one.epochs) == (2, 100, 2)
    assert (one.steps, one.images, one.eflops) == (18_000, 1_800_000, 1.8)
    assert (one.images_per_second, one.gpu_hours, one.hours) == (500, 1, 0.5)
    # More GPUs see the same images in less time, in fewer and larger steps.
    four = cost.estimate('a', plain, speed, gpus=4, images=900_000)
    assert (four.images, four.steps, four.gpu_hours, four.hours) == (1_800_000, 9_000, 1, 0.25)
    measured = cost.estimate('a', plain, cost.Speed(images_per_second=250), images=900_000)
    assert (measured.gpu_hours, measured.hours, measured.eflops) == (2, 1, 1.8)
    nothing = cost.estimate('a', plain, images=900_000)
    assert (nothing.eflops, nothing.gpu_hours, nothing.hours) == (1.8, None, None)
    assert 'give --device-tflops, or --images-per-second' in cost.to_text(nothing)
    # 35 images are two iterations of 20; without the rest it is one.
    assert cost.estimate('a', plain, images=35).images == 2 * 35
    plain.train_dataloader.drop_last = True
    assert cost.estimate('a', plain, images=35).images == 2 * 20
    # 39 images are a share of 20 for each of two GPUs, two batches of 10.
    assert cost.estimate('a', plain, images=39).images == 2 * 2 * 20
    with pytest.raises(ValueError, match='15 images do not fill a batch of 20, and train_dataload'):
        cost.estimate('a', plain, images=15)


def test_hours_of_iterations(plain):
    plain.train_cfg = dict(max_iters=90_000)
    speed = cost.Speed(tflops=500, utilisation=1)
    one = cost.estimate('a', plain, speed, images=900_000)
    assert (one.steps, one.images, one.epochs) == (18_000, 1_800_000, 2)
    assert (one.gpu_hours, one.hours) == (1, 0.5)
    # More GPUs see more images in the same time, which is not the recipe any more.
    four = cost.estimate('a', plain, speed, gpus=4, images=900_000)
    assert (four.images, four.epochs, four.gpu_hours, four.hours) == (3_600_000, 4, 2, 0.5)
    assert '= 200; that of the recipe is 100 (auto_scale_lr.base_batch' in cost.to_text(four)
    unknown = cost.estimate('a', plain, speed)
    assert (unknown.images, unknown.epochs, unknown.gpu_hours) == (1_800_000, None, 1)
    assert 'unknown number of images (nowhere was not found)' in cost.to_text(unknown)


def test_where_the_number_of_images_is_from(photographs, counted_once, monkeypatch, tmp_path):
    cfg = load('lomar_pretrain.py')
    assert cost.estimate('a', cfg, images=5000).images == 1600 * 4096  # the rest is dropped
    cfg.train_dataloader.dataset.data_root = str(photographs)
    cfg.train_dataloader.batch_size, cfg.auto_scale_lr.base_batch_size = 4, 8
    found = cost.estimate('a', cfg)
    assert (found.images_an_epoch, found.images_source) == (8, f'counted in {photographs}')
    dataset = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=dataset)
    found = cost.estimate('a', cfg)
    cfg.train_dataloader.dataset = dataset
    assert (found.images_an_epoch, found.images_source) == (16, f'counted in {photographs}')
    monkeypatch.chdir(tmp_path)
    known = cost.estimate('a', load('lomar_pretrain.py'))
    assert known.images_an_epoch == 1281167 and known.images_source.startswith('ImageNet-1k')
    cfg.train_dataloader.dataset.data_root = 'other/place'
    with pytest.raises(
        FileNotFoundError, match=r'dataset reads other/place, which does not exist.*--num-images'
    ):
        cost.estimate('a', cfg)


def test_configs_that_do_not_fit(plain):
    plain.auto_scale_lr.base_batch_size = 70
    with pytest.raises(ValueError, match=r'base_batch_size is 70, .* accumulation = 50 .* --gpus'):
        cost.estimate('a', plain, images=100)
    plain.train_cfg = dict(by_epoch=True)
    with pytest.raises(ValueError, match='train_cfg has neither max_epochs nor max_iters'):
        cost.estimate('a', plain, gpus=1, images=100)
    plain.optim_wrapper = None
    with pytest.raises(ValueError, match='a: there is no optim_wrapper'):
        cost.estimate('a', plain, gpus=1, images=100)


def run(capsys, *words, code=0):
    """Run the command in this process; return what it prints, for a code of 1 to stderr."""
    assert main(['cost', *map(str, words)]) == code
    printed = capsys.readouterr()
    return printed.err if code else printed.out


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (
            '--utilisation 0.5',
            '1 (0.4 = 40 %), and only with --device-tflops',
        ),
        ('--device-tflops 9 --utilisation 40', '--utilisation is 40.0; allowed: more than 0, up'),
        (
            '--cfg-options trian_cfg.max_epochs=3',
            "nothing reads 'trian_cfg' in the config",
        ),
    ],
)
def test_wrong_flags(flags, message, capsys):
    text = run(capsys, 'lomar_pretrain', *flags.split(), code=1)
    assert text.startswith('lomar cost: ') and message in text


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--device-tflops -1', 'argument --device-tflops: -1.0 found; allowed: more than 0'),
        ('--images-per-second 0', 'argument --images-per-second: 0.0 found; allowed: more than 0'),
        ('--device-tflops 9 --images-per-second 9', 'not allowed with argument --device-tflops'),
        ('--gpus 0', 'argument --gpus: 0 found; allowed: 1 or more'),
        ('--num-images -5', 'argument --num-images: -5 found; allowed: 1 or more'),
    ],
)
def test_wrong_usage(flags, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        main(['cost', 'lomar_pretrain', *flags.split()])
    assert message in capsys.readouterr().err


def test_the_command(capsys, tmp_path, counted_once):
    config = ROOT / 'mmconfigs/lomar_pretrain.py'
    out = tmp_path / 'cost.json'
    words = ['--device-tflops', 500, '--utilisation', 1, '--num-images', 5000, '--json', out]
    text = run(capsys, config, *words, '--cfg-options', 'train_cfg.max_epochs=9')
    (record,) = json.loads(out.read_text())
    assert (record['epochs'], record['images'], record['gpus']) == (9, 9 * 4096, 8)
    assert record['gpu_hours'] == pytest.approx(9 * 4096 * record['gflops'] / 500e3 / 3600)
    assert '9 epochs = 9 steps' in text and '500 TFLOP/s (assumed, 500 TFLOP/s x util' in text
    text = run(capsys, config, config, '--images-per-second', 5, code=1)
    assert '--images-per-second is the speed of one model; 2 configs found' in text


def test_a_process_of_its_own(tmp_path):
    words = [sys.executable, '-m', 'lomar', 'cost', str(tmp_path / 'none.py'), '--gpus', '5']
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ''
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith('lomar cost: ') and 'none.py' in line


@pytest.mark.parametrize('name', CONFIGS)
def test_every_config_has_a_cost(name, counted_once, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)  # where there are no data
    images = 5000 if 'rasters' in name else None  # of which nobody knows how many there are
    one = cost.estimate(name, load(name), cost.Speed(tflops=1000), images=images)
    assert one.effective_batch == one.recipe_batch
    (epochs,) = re.findall(r'(\d+)e_', name) or ['1600']
    assert one.epochs == pytest.approx(int(epochs), rel=0.005)
    assert 3 * one.gflops_forward >= one.gflops >= one.gflops_forward
    assert one.gpu_hours == pytest.approx(one.eflops * 1e18 / 400e12 / 3600)


def test_windows_cut_by_the_pipeline_cost_the_same(counted_once):
    name = 'pretrain/lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k-448px{}.py'
    whole, regions = (cost.count(load(name.format(parts))) for parts in ('', '-regions'))
    assert regions.step == whole.step


def test_the_tables_of_the_documents(counted_once, monkeypatch, capsys, tmp_path):
    """They are what the command beside them prints where no data are."""
    text = (ROOT / 'docs/cost.md').read_text()
    (command,) = re.findall(r'^ +lomar (cost --markdown (?:.*\\\n)*.*)', text, re.MULTILINE)
    name, *words = shlex.split(command.replace('\\\n', ' '))
    assert name == 'cost' and len(words) > 10
    (tmp_path / 'mmconfigs').symlink_to(ROOT / 'mmconfigs')
    monkeypatch.chdir(tmp_path)
    table = run(capsys, *words)
    assert f'\n\n{table}\n' in text
    flops = {
        name: float(gflop)
        for name, gflop in re.findall(r'^\| `(.*)` \| \d+ \| ([\d.]+)', table, re.MULTILINE)
    }
    mae = 'mae_vit-base-p16_8xb512-amp-coslr-{}'
    at_224, at_448 = (
        flops['lomar_pretrain'] / flops[mae.format(name)]
        for name in ('1600e_in1k', '400e_in1k-448px')
    )
    readme = ' '.join((ROOT / 'README.md').read_text().split())
    assert f'At 224 px, LoMaR with ViT-B needs {at_224:.1f} times the FLOPs of MAE.' in readme
    assert f'At 448 px, LoMaR needs only {at_448:.2f} times the FLOPs of MAE.' in readme
