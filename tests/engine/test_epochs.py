"""`--epochs`: a whole schedule for the user's images, and the summary of it."""

import json
import re
from types import SimpleNamespace

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from processes import run_lomar

from lomar.cli import main, parse_args
from lomar.engine import Runner, epochs, train_config
from lomar.engine.config import read_config
from lomar.engine.schedule import Length, resolve_schedule
from lomar.engine.setting_checks import check_val_begin
from lomar.engine.startup_log_hook import notes

SHAPES = 'shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes'
SMALL = [
    'model.backbone.arch.depth=1',
    'model.backbone.arch.embed_dim=16',
    'train_dataloader.num_workers=0',
    'default_hooks.logger.interval=1',
]
# mmdet's usual schedule: warm-up in iterations, drops in epochs.
OWN = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=3),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=100, milestones=[80, 95]),
]
PLATEAU = dict(type='ReduceOnPlateauLR', monitor='loss', begin=2)  # counts validations


@pytest.mark.parametrize(
    ('name', 'images', 'given', 'length', 'intervals', 'ends'),
    [
        # 100 epochs x 118000 images / 8 = 1475000 iterations, and all in proportion
        ('detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco', 118000, 100, 1475000, (40000,) * 2, 2000),
        ('detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco', 500, 100, 6250, (169,) * 2, 8),
        ('detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco', 500, 5, 312, (63,) * 2, 1),
        ('detect/mask-rcnn_vitdet-b_lomar_lsj-100e_coco', 3, 1, 1, (1, 1), 1),
        ('classify/vit-b_lomar_8xb128-amp-coslr-100e_in1k', None, 10, 10, (1, 1), 5),
        ('classify/vit-b_lomar_8xb128-amp-coslr-100e_in1k', None, 300, 300, (15, 3), 150),
        ('pretrain/lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k', None, 20, 20, (1, 1), 10),
        ('pretrain/mae_vit-base-p16_8xb512-amp-coslr-800e_in1k', None, 1, 1, (1, 1), 1),
    ],
)
def test_everything_follows_the_epochs(name, images, given, length, intervals, ends, monkeypatch):
    cfg = Config.fromfile(ROOT / f'mmconfigs/{name}.py')
    monkeypatch.setattr(epochs.DATASETS, 'build', lambda _: range(images))
    epochs.set_epochs(cfg, given)
    loop = cfg.train_cfg
    assert loop.get('max_iters', loop.get('max_epochs')) == length
    assert (loop.val_interval, cfg.default_hooks.checkpoint.interval) == intervals
    steps = length if images else 10 * length
    resolved = resolve_schedule(cfg.param_scheduler, Length(steps, None if images else length, 10))
    assert resolved[0]['end'] == ends and resolved[-1]['end'] == steps


@pytest.mark.parametrize(
    ('options', 'intervals'),
    [
        ((), (10, 10)),
        (('train_cfg.val_interval=3',), (3, 10)),
        (('default_hooks.checkpoint.interval=7',), (10, 7)),
    ],
)
def test_intervals_of_the_command_line_are_kept(options, intervals, photographs):
    line = ['train', SHAPES, '--train-images', str(photographs), '--epochs', '80']
    line += ['--cfg-options', 'train_dataloader.batch_size=4', *options]
    cfg = train_config(parse_args(line))
    checkpoint = cfg.default_hooks.checkpoint
    assert (cfg.train_cfg.val_interval, checkpoint.interval) == intervals


@pytest.mark.parametrize(
    ('given', 'entries', 'expected'),
    [
        (10, OWN, [dict(OWN[0]), dict(OWN[1], end='1/1', milestones=['4/5', '19/20'])]),
        (10, OWN[1], [dict(OWN[1], end='1/1', milestones=['4/5', '19/20'])]),
        (10, [dict(type='LinearLR', end=0.5)], [dict(type='LinearLR', end='1/200')]),
        (10, [dict(type='LinearLR', end='1/8')], [dict(type='LinearLR', end='1/8')]),
        (10, [PLATEAU], [PLATEAU]),
        (10, None, None),
    ],
)
def test_numbers_of_ones_own_schedule_become_shares(given, entries, expected):
    cfg = Config(dict(train_cfg=dict(max_epochs=100), param_scheduler=entries))
    epochs.set_epochs(cfg, given)
    found = cfg.param_scheduler
    assert (found and [dict(each) for each in found]) == expected
    assert cfg.train_cfg == dict(max_epochs=10, val_interval=1)


@pytest.mark.parametrize(
    ('options', 'begin', 'intervals'),
    [
        ([], 4, [(0, 1), (6, 2)]),
        (['train_cfg.val_begin'], 40, [(0, 1), (6, 2)]),
        (['train_cfg.dynamic_intervals'], 4, [(0, 1), (60, 20)]),
    ],
)
def test_evaluations_begin_in_proportion(options, begin, intervals):
    cfg = Config(dict(train_cfg=dict(max_epochs=100, val_begin=40), val_cfg={}))
    cfg.train_cfg.dynamic_intervals = [(0, 1), (60, 20)]
    epochs.set_epochs(cfg, 10, options)
    assert (cfg.train_cfg.val_begin, cfg.train_cfg.dynamic_intervals) == (begin, intervals)
    if begin > 10:
        with pytest.raises(ValueError, match=r'val_begin is 40, and .* is 10'):
            check_val_begin(cfg)
    else:
        check_val_begin(cfg)


@pytest.mark.parametrize('wrong', ['0', '-3', '2.5', 'x', ''])
def test_wrong_numbers_are_refused(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        main(['train', SHAPES, f'--epochs={wrong}'])
    assert caught.value.code == 2
    assert '--epochs: ' + wrong + ' found; allowed: 1 or more' in capsys.readouterr().err


def test_the_flag_wins_over_options(photographs):
    options = ['--cfg-options', 'train_cfg.max_epochs=3']
    line = ['train', SHAPES, '--train-images', str(photographs), '--epochs', '5', *options]
    assert train_config(parse_args(line)).train_cfg.max_epochs == 5


def rates_in(text):
    found = re.search(
        r'rate +(\S+) at the first step, (\S+) at step (\d+), (\S+) at the last', text
    )
    return float(found[1]), int(found[3]), float(found[2]), float(found[4])


@pytest.mark.parametrize('scale', [False, True])
def test_the_summary_has_the_rates_of_the_log(scale, photographs, tmp_path):
    """The real command: 8 images, 2 per step, 5 epochs."""
    flags = ('--epochs', 5, '--train-images', photographs, '--work-dir', tmp_path / 'work')
    options = [*SMALL, 'train_dataloader.batch_size=2', 'optim_wrapper.accumulative_counts=2']
    flags += (('--auto-scale-lr',) if scale else ()) + ('--cfg-options', *options)
    done = run_lomar('train', SHAPES, *flags)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    assert 'schedule   5 epochs = 20 steps, warm-up 0.5 epochs = 2 steps' in text
    (file,) = (tmp_path / 'work').glob('*/vis_data/scalars.json')
    logged = [json.loads(line)['lr'] for line in file.read_text().splitlines()]
    first, place, middle, last = rates_in(text)
    assert len(logged) == 20 and logged[0] == pytest.approx(2e-6 * (4 / 32 if scale else 1))
    for said, step in ((first, 1), (middle, place), (last, 20)):
        assert said == pytest.approx(logged[step - 1], rel=1e-3)
    assert last < logged[1] / 50


@pytest.mark.parametrize(
    ('file', 'images', 'steps', 'note'),
    [
        ('x_lsj-100e_coco.py', 500, 184375, 'is 2950 epochs of the 500 images. The config is named '
         'for 100 epochs: --epochs 100 sets the whole'),
        ('x_lsj-12e_coco.py', 500, 22125, 'for 12 epochs: --epochs 12 sets'),
        ('mine.py', 500, 184375, '100 epochs are usual: --epochs 100'),
        ('x_lsj-100e_coco.py', 118000, 184375, None),
        ('x_lsj-100e_coco.py', 500, 6250, None),
    ],
)  # fmt: skip
def test_many_more_epochs_than_the_name_says_are_noted(file, images, steps, note):
    sampler = SimpleNamespace(batch_size=8)
    loader = SimpleNamespace(dataset=range(images), batch_sampler=sampler)
    loop = IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    loop._max_iters, loop.dataloader = steps, range(images // 8)
    cfg = SimpleNamespace(filename=f'a/{file}', get={}.get)
    runner = SimpleNamespace(train_loop=loop, train_dataloader=loader, cfg=cfg)
    found = notes(runner)
    assert len(found) == bool(note) and (not note or re.search(note, found[0]))


@pytest.mark.parametrize(
    ('name', 'options', 'number'),
    [
        ('lomar_pretrain', {}, 0),
        ('lomar_pretrain', {'model.backbone.img_size': 448}, 1),
        ('lomar_pretrain', {'train_dataloader.dataset.pipeline.0.scale': (512, 2048)}, 0),
        ('pretrain/lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k-448px-regions', {}, 0),
        ('pretrain/mae_vit-base-p16_8xb512-amp-coslr-400e_in1k-384px', {}, 0),
        ('classify/vit-b_lomar_8xb128-amp-coslr-100e_in1k', {'model.backbone.img_size': 384}, 1),
    ],
)
def test_another_side_of_the_training_images_is_noted(name, options, number):
    cfg = read_config(name, options)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', dataset=cfg.train_dataloader.dataset)
    loop = EpochBasedTrainLoop.__new__(EpochBasedTrainLoop)
    loop._max_epochs, loop._max_iters, loop.dataloader = 1, 8, range(8)
    found = notes(SimpleNamespace(cfg=cfg, train_loop=loop, train_dataloader=loop.dataloader))
    assert len(found) == number
    assert all('training images have 224 px: set scale of the loader' in note for note in found)


def test_a_rate_that_is_not_scaled_is_refused():
    runner = Runner.__new__(Runner)
    runner.param_schedulers = [dict(type='OneCycleLR', eta_max=0.1)]
    runner._train_dataloader = dict(batch_size=4)
    runner._world_size = 1
    with pytest.raises(ValueError, match=r'--auto-scale-lr: param_scheduler has eta_max=0\.1'):
        runner.scale_lr(
            SimpleNamespace(_accumulative_counts=1), dict(enable=True, base_batch_size=8)
        )


@pytest.mark.parametrize(
    ('options', 'line'),
    [
        (['optim_wrapper.accumulative_counts=9'], r'accumulative_counts is 9, and .* has 8'),
        (['param_scheduler.1.end=9'], r'param_scheduler\.1\.end is 9, and it lasts'),
        (['param_scheduler.1.eta_min=1'], r'param_scheduler\.1\.eta_min is 1, a rate of 1'),
        (['model.windows.number=a'], r"windows\.number is 'a'"),
    ],
)  # fmt: skip
def test_a_dry_run_stops_as_the_training_does(options, line, photographs, capsys):
    flags = ['--dry-run', '--epochs', '4', '--train-images', str(photographs)]
    options = [*SMALL, 'train_dataloader.batch_size=4', *options]
    assert main(['train', SHAPES, *flags, '--cfg-options', *options]) == 1
    (said,) = capsys.readouterr().err.splitlines()[-1:]
    assert re.search(f'lomar train: .*{line}', said)
