"""A resumed run is compared with the run that wrote the checkpoint."""

import itertools
import json
import os
import re
import shutil
import signal

import numpy as np
import pytest
import torch
from conftest import ROOT
from mmengine.hooks import EarlyStoppingHook, EMAHook
from mmengine.logging import MessageHub
from old_checkpoints import arguments, make_shapes
from PIL import Image
from processes import run_lomar, run_ranks

from lomar.checkpoints import load_file
from lomar.cli import parse_args
from lomar.engine import Runner, train_config
from lomar.engine.resume import INTERRUPTED
from lomar.engine.run_record import KEY, Difference, describe, differences, table
from lomar.engine.stop_signal_hook import StopSignalHook

CONFIG = str(ROOT / 'mmconfigs/shapes/lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py')
TOY = [
    'model.backbone.arch.depth=1',
    'model.backbone.arch.embed_dim=32',
    'train_dataloader.batch_size=4',
    'train_dataloader.num_workers=0',
    'custom_hooks.4.interval=1000000',  # no pictures
]
IMAGES = 16
NUMBERS = itertools.count()


def write_images(folder, number=IMAGES, seed=0):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for index in range(number):
        pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((56, 40)).save(folder / f'{index:02}.png')
    return folder


def line(images, work, *options, flags=(), epochs=2):
    data = ('--train-images', str(images), '--work-dir', str(work))
    return [
        'train',
        CONFIG,
        *data,
        *flags,
        '--cfg-options',
        *TOY,
        f'train_cfg.max_epochs={epochs}',
        *options,
    ]


class Recorder(Runner):
    """Runner that keeps the learning rate of every step."""

    def call_hook(self, name, **kwargs):
        if name == 'before_train_iter':
            rates = self.__dict__.setdefault('rates', {})
            rates[self.iter] = self.optim_wrapper.get_lr()['lr']
        super().call_hook(name, **kwargs)


def build(arguments, change=None):
    cfg = train_config(parse_args(arguments))
    cfg.experiment_name = f'run{next(NUMBERS)}'  # mmengine keeps loggers by this name
    if change:
        change(cfg)
    return Recorder.from_cfg(cfg)


def train(arguments, change=None):
    runner = build(arguments, change)
    runner.train()
    return runner


def logged(work):
    return '\n'.join(path.read_text() for path in sorted(work.glob('*/*.log')))


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    """Folder with `images`, and `run/epoch_1.pth` and `run/epoch_2.pth` of a finished training."""
    folder = tmp_path_factory.mktemp('resume')
    train(line(write_images(folder / 'images'), folder / 'run'))
    return folder


def compared(base, tmp_path, *options, flags=(), change=None, epochs=2, images=None):
    """Build a run that resumes from the second epoch, as far as the comparison."""
    flags = ('--resume', str(base / 'run/epoch_2.pth'), *flags)
    arguments = line(
        images or base / 'images', tmp_path / 'w', *options, flags=flags, epochs=epochs
    )
    runner = build(arguments, change)
    runner.build_train_loop(runner._train_loop)
    return runner


def set_key(path, value):
    def change(cfg):
        cfg.merge_from_dict({path: value})

    return change


def add_ema(cfg):
    cfg.custom_hooks.append(dict(type='EMAHook'))


def drop_seeding(cfg):
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type != 'StepSeedHook']


def drop_logging(cfg):
    idle = ('ModelSummaryHook', 'ThroughputHook', 'ReconstructionHook')
    cfg.custom_hooks = [hook for hook in cfg.custom_hooks if hook.type not in idle]


# (options, other changes, keys of which some must be in the table)
CHANGES = dict(
    longer=([], dict(epochs=4), ['train_cfg.max_epochs']),
    longer_by_flag=([], dict(flags=['--epochs', '5']), ['train_cfg.max_epochs']),
    anneals_later=(['param_scheduler.1.begin=1'], {}, ['param_scheduler.1.begin']),
    warmup=(['param_scheduler.0.start_factor=0.1'], {}, ['param_scheduler.0.start_factor']),
    no_schedule=([], dict(change=lambda cfg: cfg.pop('param_scheduler')), ['param_scheduler']),
    accumulation=(
        ['optim_wrapper.accumulative_counts=2'],
        {},
        ['optim_wrapper.accumulative_counts'],
    ),
    lr=(['optim_wrapper.optimizer.lr=1e-4'], {}, ['optim_wrapper.optimizer.lr']),
    decay=(['optim_wrapper.optimizer.weight_decay=0.1'], {}, ['optim_wrapper.optimizer.weight_d']),
    clip=(['optim_wrapper.clip_grad.max_norm=9'], {}, ['optim_wrapper.clip_grad.max_norm']),
    groups=(['optim_wrapper.paramwise_cfg.layer_decay=0.5'], {}, ['paramwise_cfg.layer_decay']),
    scaled=([], dict(flags=['--auto-scale-lr']), ['auto_scale_lr']),
    bf16=(
        ['optim_wrapper.dtype=bfloat16'],
        dict(flags=['--amp']),
        ['optim_wrapper.dtype', 'float32', 'bfloat16'],
    ),
    seed=(['randomness.seed=1'], {}, ['randomness.seed']),
    crop=(
        ['train_dataloader.dataset.pipeline.0.crop_ratio_range=(0.1,1.0)'],
        {},
        ['train_dataloader.dataset.pipeline.0.crop_ratio_range.0'],
    ),
    sampler=(['train_dataloader.sampler.shuffle=False'], {}, ['train_dataloader.sampler.shuffle']),
    windows=(['model.windows.number=2'], {}, ['model.windows.number']),
    depth=(['model.backbone.arch.depth=2'], {}, ['model.backbone.arch.depth']),
    pixels=(['model.data_preprocessor.mean=[1,2,3]'], {}, ['model.data_preprocessor.mean.0']),
    ema=([], dict(change=add_ema), ['hooks.EMAHook']),
    seeding=([], dict(change=drop_seeding), ['hooks.StepSeedHook']),
)
SAME = dict(
    nothing=([], {}),
    workers=(['train_dataloader.num_workers=1', 'train_dataloader.prefetch_factor=4'], {}),
    pinned=([], dict(flags=['--no-pin-memory', '--no-persistent-workers'])),
    log=(['default_hooks.logger.interval=7', 'log_processor.window_size=3'], {}),
    checkpoints=(['default_hooks.checkpoint.interval=5', 'log_level=WARNING'], {}),
    hooks=([], dict(change=drop_logging)),
    pictures=(['custom_hooks.4.interval=3'], {}),
    validation=(['train_cfg.val_interval=2', 'train_cfg.val_begin=2'], {}),
    speed=(['optim_wrapper.optimizer.fused=False', 'env_cfg.cudnn_benchmark=False'], {}),
    memory=(['model.backbone.with_cp=True'], {}),
    test_cfg=([], dict(change=set_key('model.test_cfg', dict(max_per_img=7)))),
    scale_off=(['auto_scale_lr.base_batch_size=77'], {}),
    tensorboard=([], dict(flags=['--tensorboard', '--quiet'])),
    validation_data=([], dict(flags=['--val-images', str(ROOT / 'docs/images'), '--no-validate'])),
)


@pytest.fixture(scope='module')
def loop(base):
    """Training loop of the first run."""
    runner = build(line(base / 'images', base / 'loop'))
    return runner.build_train_loop(runner._train_loop)


def changed(base, loop, tmp_path, options, flags=(), change=None, epochs=2):
    """Return the differences between the record in a checkpoint and that of a config."""
    words = line(base / 'images', tmp_path / 'w', *options, flags=flags, epochs=epochs)
    cfg = train_config(parse_args(words))
    if change:
        change(cfg)
    record = describe(cfg, loop, cfg.randomness.seed, processes=1)
    return differences(load_file(base / 'run/epoch_2.pth')['meta'][KEY], record)


@pytest.mark.parametrize('name', CHANGES)
def test_a_change_is_in_the_table(name, base, loop, tmp_path):
    options, others, found = CHANGES[name]
    text = table(changed(base, loop, tmp_path, options, **others))
    assert re.match(r' +setting +checkpoint +now\n', text)
    assert all(words in text for words in found), text


@pytest.mark.parametrize('name', SAME)
def test_no_difference(name, base, loop, tmp_path):
    options, others = SAME[name]
    assert changed(base, loop, tmp_path, options, **others) == []


def test_a_runner_without_a_config(base, tmp_path):
    """Of Python code that builds the parts itself: only the data can be compared."""

    def parts(images, epochs):
        cfg = train_config(parse_args(line(images, tmp_path, epochs=epochs)))
        loader = build(line(images, tmp_path)).build_dataloader(cfg.train_dataloader)
        keys = ('model', 'work_dir', 'train_cfg', 'optim_wrapper', 'param_scheduler')
        name = f'parts{next(NUMBERS)}'
        given = {key: cfg[key] for key in (*keys, 'default_scope')}
        return dict(given, train_dataloader=loader, experiment_name=name)

    Runner(**parts(base / 'images', 2)).train()
    runner = Recorder(**parts(base / 'images', 3), resume=True)
    runner.train()
    assert min(runner.rates) == 8 and runner.epoch == 3
    other = write_images(tmp_path / 'x/images', 8)
    with pytest.raises(ValueError, match=r'number of training images +16 +8'):
        Runner(**parts(other, 3), resume=True).train()


def test_a_table_is_short():
    rows = [Difference(f'model.{number}', 'x' * 99, None) for number in range(99)]
    lines = table(rows).splitlines()
    assert lines[-1] == '    ... and 75 more' and len(lines) == 26
    assert max(map(len, lines)) < 100


@pytest.mark.parametrize('batch', [2, 8])
def test_another_batch_stops(batch, base, tmp_path):
    option = f'train_dataloader.batch_size={batch}'
    with pytest.raises(ValueError, match='--accept-changes goes on') as error:
        compared(base, tmp_path, option)
    assert re.search(rf'images per step \(.*\) +4 +{batch}\n', str(error.value))
    assert re.search(rf'steps per epoch +4 +{IMAGES // batch}\n', str(error.value))


def test_a_flag_without_effect_is_refused(base, tmp_path):
    with pytest.raises(ValueError, match='--accept-changes has no effect without --resume'):
        build(line(base / 'images', tmp_path / 'w', flags=['--accept-changes']))


def test_a_saved_config_accepts_nothing(base, tmp_path):
    """A run that went on with changes saves its config, from which another run may start."""
    compared(base, tmp_path, flags=['--accept-changes'], epochs=4)
    saved = tmp_path / 'w' / CONFIG.rpartition('/')[2]
    words = ['train', str(saved), '--resume', str(base / 'run/epoch_2.pth')]
    with pytest.raises(ValueError, match=r'train_cfg\.max_epochs'):
        build(words).train()


# The data


def add_image(folder):
    Image.new('RGB', (40, 40)).save(folder / '99.png')


def replace_image(folder):
    Image.effect_noise((99, 99), 90).convert('RGB').save(folder / '03.png')


def rename_image(folder):
    (folder / '03.png').rename(folder / '03b.png')


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        (add_image, 'number of training images +16 +17'),
        (replace_image, 'contents of training images and labels'),
        (rename_image, 'contents of training images and labels'),
        (None, None),
    ],
    ids=['added', 'replaced', 'renamed', 'moved'],
)
@pytest.mark.parametrize('listed', [False, True], ids=['folder', 'list'])
def test_images(change, key, listed, base, tmp_path):
    """Images may move to another folder; other images are a difference."""
    moved = tmp_path / 'elsewhere/images'
    shutil.copytree(base / 'images', moved)
    if change:
        change(moved)
    if listed:
        names = sorted(path.name for path in moved.iterdir())
        moved = tmp_path / 'list.txt'
        moved.write_text('\n'.join(f'elsewhere/images/{name}' for name in names))
    if key is None:
        compared(base, tmp_path, images=moved)
    else:
        with pytest.raises(ValueError, match=key):
            compared(base, tmp_path, images=moved)


# The schedule


def one_cycle(cfg):
    cfg.param_scheduler = [dict(type='OneCycleLR', eta_max=0.01, by_epoch=False)]


def wrapped(cfg):
    part = cfg.train_dataloader.dataset
    both = dict(type='ConcatDataset', datasets=[part, dict(part)])
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=both)


RATES = dict(
    longer=(dict(epochs=4), []),
    longer_warmup=(dict(epochs=4), ['param_scheduler.0.end=3', 'param_scheduler.1.begin=3']),
    by_epoch=(
        dict(epochs=4),
        ['param_scheduler.1.convert_to_iter_based=False'],
    ),
    smaller_batch=(dict(epochs=3), ['train_dataloader.batch_size=2']),
    larger_batch=(dict(epochs=3), ['train_dataloader.batch_size=8']),
    layers=(dict(epochs=3), ['optim_wrapper.paramwise_cfg.layer_decay=0.5']),
    rate=(dict(epochs=3), ['optim_wrapper.optimizer.lr=1e-4']),
    scaled=(dict(epochs=3, flags=['--auto-scale-lr']), []),
)


@pytest.mark.parametrize('name', RATES)
def test_rates_are_those_of_a_fresh_run(name, base, tmp_path):
    settings, options = RATES[name]
    fresh = train(line(base / 'images', tmp_path / 'fresh', *options, **settings))
    flags = ['--resume', str(base / 'run/epoch_2.pth'), '--accept-changes']
    flags += settings.get('flags', ())
    settings = {**settings, 'flags': flags}
    resumed = train(line(base / 'images', tmp_path / 'resumed', *options, **settings))
    start = 2 * len(resumed.train_dataloader)
    assert list(resumed.rates) == list(range(start, resumed.max_iters))
    assert resumed.rates == {step: fresh.rates[step] for step in resumed.rates}
    assert len({*map(tuple, resumed.rates.values())}) > 1
    # The optimizer goes on: as many steps as the old and the new run made.
    steps = {int(state['step']) for state in resumed.optim_wrapper.optimizer.state.values()}
    assert steps == {2 * IMAGES // 4 + len(resumed.rates)}


@pytest.mark.parametrize(
    ('seed', 'change'), [(0, None), (None, None), (0, one_cycle), (0, wrapped)]
)
def test_a_run_without_changes_ends_with_the_same_bytes(seed, change, base, tmp_path):
    options = [f'randomness.seed={seed}', 'model.backbone.drop_path_rate=0.2']
    whole = train(line(base / 'images', tmp_path / 'whole', *options), change)
    flags = ['--resume', str(tmp_path / 'whole/epoch_1.pth')]
    resumed = train(line(base / 'images', tmp_path / 'resumed', *options, flags=flags), change)
    assert resumed.seed == whole.seed
    one, other = (load_file(tmp_path / name / 'epoch_2.pth') for name in ('whole', 'resumed'))
    for key in ('state_dict', 'optimizer'):
        torch.testing.assert_close(one[key], other[key], atol=0, rtol=0)
    assert one['param_schedulers'] == other['param_schedulers']
    assert one['meta'][KEY] == other['meta'][KEY]


def test_other_versions_are_noted(base, tmp_path):
    content = load_file(base / 'run/epoch_2.pth')
    content['meta'][KEY]['versions'] |= dict(torch='1.0', lomar='9.9')
    torch.save(content, tmp_path / 'epoch_2.pth')
    words = line(base / 'images', tmp_path / 'w', flags=['--resume', str(tmp_path / 'epoch_2.pth')])
    runner = build(words)
    runner.build_train_loop(runner._train_loop)
    found = re.findall('WARNING.*versions than in .*', logged(tmp_path / 'w'))
    assert len(found) == 1 and 'lomar 9.9 -> ' in found[0] and 'torch 1.0 -> ' in found[0]


def test_momentum_follows_the_parameter(base, tmp_path):
    """With other parameter groups, the optimizer has the parameters in another order."""
    flags = ['--resume', str(base / 'run/epoch_2.pth'), '--accept-changes']
    options = ['optim_wrapper.paramwise_cfg.layer_decay=0.5']
    runner = train(line(base / 'images', tmp_path, *options, flags=flags))
    assert 'Nothing to train' in logged(tmp_path)
    saved = load_file(base / 'run/epoch_2.pth')
    names = saved['meta'][KEY]['parameters']
    states = runner.optim_wrapper.optimizer.state
    own = {name: states[parameter] for name, parameter in runner.model.named_parameters()}
    assert names != list(own) and {*names} == {*own}
    for index, name in enumerate(names):
        assert own[name]['exp_avg'].cpu().equal(saved['optimizer']['state'][index]['exp_avg']), name


def by_steps(steps, resume=None):
    """Change the config to a run that is counted in steps."""

    def change(cfg):
        cfg.train_cfg = dict(type='ReplayIterLoop', max_iters=steps, val_interval=1000)
        cfg.train_dataloader.sampler = dict(type='InfiniteReplaySampler', shuffle=True)
        cfg.param_scheduler = [
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=3),
            dict(type='CosineAnnealingLR', T_max=steps - 3, by_epoch=False, begin=3, end=steps),
        ]
        cfg.default_hooks.checkpoint.update(by_epoch=False, interval=6)
        if resume:
            cfg.resume, cfg.load_from, cfg.accept_changes = True, str(resume), True

    return change


@pytest.mark.parametrize('batch', [4, 2])
def test_a_run_counted_in_steps_goes_on_at_its_step(batch, base, tmp_path):
    images, size = base / 'images', f'train_dataloader.batch_size={batch}'
    train(line(images, tmp_path / 'short'), by_steps(6))
    fresh = train(line(images, tmp_path / 'long', size), by_steps(12))
    change = by_steps(12, tmp_path / 'short/iter_6.pth')
    resumed = train(line(images, tmp_path / 'resumed', size), change)
    assert resumed.rates == {step: fresh.rates[step] for step in range(6, 12)}
    assert len({*map(tuple, resumed.rates.values())}) == 6


def no_replay(cfg):
    cfg.train_dataloader.sampler.type = 'DefaultSampler'


@pytest.mark.parametrize('sampler', [None, no_replay])
def test_a_checkpoint_within_an_epoch(sampler, base, tmp_path):
    """The epoch goes on at its step, or is repeated if the sampler cannot begin there."""
    images = base / 'images'

    def often(cfg):
        cfg.default_hooks.checkpoint = dict(OFTEN, type='SafeCheckpointHook')
        if sampler:
            sampler(cfg)

    whole = train(line(images, tmp_path / 'whole'), often)
    for step, begin in ((5, 4), (6, 4), (4, 4), (8, 8)):
        begin = begin if sampler else step
        flags = ['--resume', str(tmp_path / f'whole/iter_{step}.pth')]
        resumed = train(line(images, tmp_path / str(step), flags=flags), often)
        rates = {number: rate for number, rate in whole.rates.items() if number >= begin}
        assert resumed.__dict__.get('rates', {}) == rates
        assert resumed.iter == 8 and resumed.epoch == 2
        if not sampler and step < 8:
            ends = [load_file(tmp_path / name / 'iter_8.pth') for name in ('whole', str(step))]
            for key in ('state_dict', 'optimizer'):
                torch.testing.assert_close(ends[0][key], ends[1][key], atol=0, rtol=0)


@pytest.mark.parametrize('by', ['epochs', 'steps'])
def test_a_checkpoint_within_an_accumulation(by, base, tmp_path):
    """A checkpoint has no gradients, so the run goes on after the last change of the weights."""
    images, counts = base / 'images', 'optim_wrapper.accumulative_counts=3'

    def often(cfg):
        if by == 'steps':
            by_steps(8)(cfg)
        cfg.default_hooks.checkpoint = dict(OFTEN, type='SafeCheckpointHook')

    whole = train(line(images, tmp_path / 'whole', counts), often)
    for step, begin in ((3, 3), (4, 3), (5, 3), (8, 8)):  # the last accumulation is a shorter one
        flags = ['--resume', str(tmp_path / f'whole/iter_{step}.pth')]
        resumed = train(line(images, tmp_path / str(step), counts, flags=flags), often)
        rates = {number: rate for number, rate in whole.rates.items() if number >= begin}
        assert resumed.__dict__.get('rates', {}) == rates
        if step < 8:
            ends = [load_file(tmp_path / name / 'iter_8.pth') for name in ('whole', str(step))]
            for key in ('state_dict', 'optimizer'):
                torch.testing.assert_close(ends[0][key], ends[1][key], atol=0, rtol=0)


OFTEN = dict(by_epoch=False, interval=1, max_keep_ckpts=-1)


# What no run can go on with


def plateau(cfg):
    cfg.param_scheduler = [dict(type='ReduceOnPlateauLR', monitor='loss')]


def test_a_schedule_by_metrics_goes_on_without_changes(base, tmp_path):
    whole = train(line(base / 'images', tmp_path / 'whole'), plateau)
    content = load_file(tmp_path / 'whole/epoch_1.pth')
    content['param_schedulers'][0]['best'] = -7.0
    torch.save(content, tmp_path / 'epoch_1.pth')
    flags = ['--resume', str(tmp_path / 'epoch_1.pth')]
    resumed = train(line(base / 'images', tmp_path / 'resumed', flags=flags), plateau)
    assert resumed.rates == {step: whole.rates[step] for step in range(4, 8)}
    assert resumed.param_schedulers[0].best == -7.0


def test_early_stopping_goes_on(base, tmp_path):
    stopper = dict(type='EarlyStoppingHook', monitor='knn', rule='greater', strict=False)
    add = set_key('custom_hooks', [stopper])
    train(line(base / 'images', tmp_path / 'whole'), add)
    content = load_file(tmp_path / 'whole/epoch_1.pth')
    hub = MessageHub('validations')
    for score in (10.0, 30.0, 20.0, 25.0):
        hub.update_scalar('val/knn', score)
    content['message_hub']['log_scalars'] |= hub.log_scalars
    torch.save(content, tmp_path / 'epoch_1.pth')
    flags = ['--resume', str(tmp_path / 'epoch_1.pth')]
    resumed = train(line(base / 'images', tmp_path / 'resumed', flags=flags), add)
    (hook,) = (one for one in resumed.hooks if isinstance(one, EarlyStoppingHook))
    assert (hook.best_score, hook.wait_count) == (30, 2)


REFUSED = dict(
    optimizer=(
        set_key('optim_wrapper.optimizer', dict(_delete_=True, type='SGD', lr=0.1)),
        r'optimizer.type +AdamW +SGD.*cannot be loaded into another type of optimizer',
    ),
    steps=(by_steps(9), 'the checkpoint counts epochs, and train_cfg counts steps'),
    plateau=(plateau, 'param_scheduler depends on past metrics'),
    shapes=(
        set_key('model.backbone.arch.embed_dim', 64),
        r'model.backbone.arch.embed_dim +32 +64.*the weights do not fit the model',
    ),
)


@pytest.mark.parametrize('name', REFUSED)
def test_some_changes_are_refused_even_if_accepted(name, base, tmp_path, capfd):
    change, message = REFUSED[name]
    flags = ['--resume', str(base / 'run/epoch_2.pth'), '--accept-changes']
    with pytest.raises(ValueError) as error:
        train(line(base / 'images', tmp_path, flags=flags, epochs=4), change)
    text = logged(tmp_path) + str(error.value)
    assert re.search(message, text, re.DOTALL), text
    assert 'load_from=FILE without --resume' in text


def without(*keys):
    return lambda content: {key: content[key] for key in content if key not in keys}


FILES = dict(
    best=(without('optimizer', 'param_schedulers'), 'no optimizer'),
    weights=(lambda content: content['state_dict'], 'no state_dict, meta, optimizer'),
    published=(without('meta'), 'no meta'),
    optimizer_only=(without('state_dict'), 'no state_dict'),
)


@pytest.mark.parametrize('name', FILES)
def test_files_that_hold_no_training(name, base, tmp_path):
    change, message = FILES[name]
    file = tmp_path / 'other.pth'
    torch.save(change(load_file(base / 'run/epoch_2.pth')), file)
    with pytest.raises(ValueError, match=rf'other\.pth: cannot be resumed.* {message};'):
        build(line(base / 'images', tmp_path / 'w', flags=['--resume', str(file)]))


def test_a_copied_folder_does_not_lose_epochs(base, tmp_path):
    """A copy has the times of copying, in any order."""
    for second, number in enumerate((2, 1)):
        file = tmp_path / f'w/epoch_{number}.pth'
        file.parent.mkdir(exist_ok=True)
        content = load_file(base / f'run/epoch_{number}.pth')
        content['meta']['time'] = f'20260101_00000{number}'
        torch.save(content, file)
        os.utime(file, (second, second))
    arguments = line(base / 'images', tmp_path / 'w', flags=['--resume'])
    with pytest.raises(ValueError, match=r'epoch_1\.pth is the newest .*epoch_2\.pth was saved la'):
        build(arguments)
    # A new training in the folder of a longer one.
    content['meta']['time'] = '20260101_000003'
    torch.save(content, file)
    assert build(arguments)._load_from.endswith('epoch_1.pth')


@pytest.mark.parametrize('option', ['out_dir=elsewhere', 'filename_tmpl=step_{}.pth'])
def test_checkpoints_at_another_place_are_named(option, base, tmp_path):
    option = f'default_hooks.checkpoint.{option}'
    with pytest.raises(ValueError, match=rf'{option.partition("=")[0]} is .*; allowed: --resume F'):
        build(line(base / 'images', tmp_path / 'w', option, flags=['--resume']))


# Checkpoints without a record


@pytest.fixture
def unrecorded(base, tmp_path):
    content = load_file(base / 'run/epoch_2.pth')
    del content['meta'][KEY]
    torch.save(content, tmp_path / 'epoch_2.pth')
    return tmp_path / 'epoch_2.pth'


def test_without_a_record_a_run_goes_on_with_a_note(unrecorded, base, tmp_path):
    fresh = train(line(base / 'images', tmp_path / 'fresh', epochs=4))
    flags = ['--resume', str(unrecorded)]
    resumed = train(line(base / 'images', tmp_path / 'w', flags=flags, epochs=4))
    text = logged(tmp_path / 'w')
    assert 'has no record of its settings' in text
    assert re.search(r'train_cfg.max_epochs +2 +4\n', text)  # of the stored config
    assert resumed.rates == {step: fresh.rates[step] for step in range(8, 16)}
    runner = build(line(base / 'images', tmp_path / 'x', 'randomness.seed=3', flags=flags))
    runner.build_train_loop(runner._train_loop)
    assert re.search(r'randomness.seed +0 +3', logged(tmp_path / 'x'))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (set_key('optim_wrapper.optimizer', dict(_delete_=True, type='SGD', lr=0.1)), 'options'),
        (set_key('optim_wrapper.paramwise_cfg', dict(layer_decay=0.5)), r'groups of \[\d'),
    ],
)
def test_without_a_record_another_optimizer_is_refused(change, message, unrecorded, base, tmp_path):
    arguments = line(base / 'images', tmp_path / 'w', flags=['--resume', str(unrecorded)])
    with pytest.raises(ValueError, match=f'the optimizer of the checkpoint has .*{message}'):
        train(arguments, change)


# A finished run, the log, the average, the best checkpoint


def test_a_finished_run_says_so(base, tmp_path):
    flags = ['--resume', str(base / 'run/epoch_2.pth')]
    runner = train(line(base / 'images', tmp_path, flags=flags))
    assert not runner.has_trained and not list(tmp_path.glob('*.pth'))
    text = logged(tmp_path)
    assert len(re.findall('Nothing to train: .*epoch_2.pth is at the end', text)) == 1
    assert 'Training:' not in text.partition('Nothing to train')[2]


def test_checkpoints_have_the_settings_of_the_last_run(base, tmp_path):
    flags = ['--resume', str(base / 'run/epoch_2.pth'), '--accept-changes']
    train(line(base / 'images', tmp_path, 'randomness.seed=5', flags=flags, epochs=3))
    content = load_file(tmp_path / 'epoch_3.pth')
    hub = content['message_hub']['runtime_info']
    assert content['meta']['seed'] == hub['seed'] == 5
    assert 'max_epochs=3' in content['meta']['cfg'] and 'max_epochs=3' in hub['cfg']
    build(line(base / 'images', tmp_path, 'randomness.seed=5', flags=['--resume'], epochs=3))


def test_files_of_the_beginning_may_be_gone(base, tmp_path):
    """The weights are those of the checkpoint; `load_from` and `init_cfg` began the first run."""
    file = shutil.copy(base / 'run/epoch_2.pth', tmp_path / 'begin.pth')
    begin = set_key('model.backbone.init_cfg', dict(type='Pretrained', checkpoint=str(file)))
    whole = train(line(base / 'images', tmp_path / 'whole'), begin)
    file.unlink()
    flags = ['--resume', str(tmp_path / 'whole/epoch_1.pth')]
    resumed = train(line(base / 'images', tmp_path / 'resumed', flags=flags), begin)
    for name, value in whole.model.state_dict().items():
        assert value.equal(resumed.model.state_dict()[name]), name


def test_without_its_average_a_run_goes_on_from_its_weights(base, tmp_path):
    trained = train(line(base / 'images', tmp_path / 'ema'), add_ema)
    flags = ['--resume', str(tmp_path / 'ema/epoch_2.pth')]
    again = train(line(base / 'images', tmp_path / 'again', flags=flags), add_ema)
    flags.append('--accept-changes')
    without = train(line(base / 'images', tmp_path / 'without', flags=flags))
    average = load_file(tmp_path / 'ema/epoch_2.pth')['state_dict']
    for name, value in trained.model.state_dict().items():
        assert value.equal(again.model.state_dict()[name])
        assert value.equal(without.model.state_dict()[name])
    assert any(
        not trained.model.state_dict()[name].cpu().equal(value) for name, value in average.items()
    )


@pytest.mark.parametrize('again', [None, False, True])
def test_a_signal_during_an_evaluation_saves_weights_and_average(again, base, tmp_path):
    """EMAHook exchanges them for an evaluation; mmpretrain's may evaluate once more without."""
    twice = dict(type='mmpretrain.EMAHook', evaluate_on_origin=True)
    hook = dict(type='EMAHook') if again is None else twice
    runner = train(
        line(base / 'images', tmp_path, epochs=1), lambda cfg: cfg.custom_hooks.append(hook)
    )
    average, stop = (
        next(hook for hook in runner.hooks if isinstance(hook, kind))
        for kind in (EMAHook, StopSignalHook)
    )
    average.before_val_epoch(runner)
    if again:
        stop.after_val_iter(runner, 0)
        average._swap_ema_parameters()
    stop.received, runner.saved_step = signal.SIGTERM, None
    with pytest.raises(SystemExit):
        stop.after_val_iter(runner, 0)
    regular, saved = (load_file(tmp_path / name) for name in ('epoch_1.pth', INTERRUPTED))
    for key in ('state_dict', 'ema_state_dict'):
        torch.testing.assert_close(saved[key], regular[key], atol=0, rtol=0)


# Classes, labels, annotations


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp('shapes') / 'shapes', 8)


@pytest.fixture(scope='module', params=['classifier_lomar', 'detector_lomar'])
def labelled(request, shapes, tmp_path_factory):
    """Name of a model and work dir of its finished training."""
    work = tmp_path_factory.mktemp(request.param)
    train(['train', *arguments(request.param, shapes, work, 1, 'load_from=None')])
    return request.param, work


def rewrite(folder, change):
    """Change the lines of text lists, and the dicts of COCO files."""
    for path in (folder / 'annotations').glob('*.txt'):
        path.write_text(''.join(change(text) for text in path.read_text().splitlines(True)))
    for path in (folder / 'annotations').glob('*.json'):
        path.write_text(json.dumps(json.loads(path.read_text(), object_hook=change)))


def rename_class(part):
    if isinstance(part, str):
        return part.replace('striped', 'zebra')
    return dict(part, name='zebra') if part.get('name') == 'striped' else part


def change_label(part):
    """Change the label of one image, and the boxes of one image."""
    if isinstance(part, str):
        other = 'striped' if 'checked' in part else 'checked'
        return re.sub(r'(000003\.jpg\W+)\w+', rf'\g<1>{other}', part)
    return dict(part, bbox=[1, 2, 30, 31]) if part.get('image_id') == 3 else part


@pytest.mark.parametrize(
    ('change', 'key'),
    [
        (rename_class, r'classes\.\d +\w+ +zebra'),
        (change_label, 'contents of training images and labels'),
        (None, None),
    ],
    ids=['renamed', 'relabelled', 'moved'],
)
def test_classes_and_labels(change, key, labelled, shapes, tmp_path):
    name, work = labelled
    moved = shutil.copytree(shapes, tmp_path / 'moved')
    words = arguments(name, moved, tmp_path / 'w', 1, 'load_from=None')
    resume = ['--resume', str(work / 'epoch_1.pth')]
    if change is None:
        words.remove('--no-validate')
        runner = build(['train', *words, *resume])
        runner.build_train_loop(runner._train_loop)
        assert 'setting ' not in logged(tmp_path / 'w')
        return
    rewrite(moved, change)
    runner = build(['train', *words, *resume])
    with pytest.raises(ValueError, match=key):
        runner.build_train_loop(runner._train_loop)


@pytest.mark.slow
def test_a_better_checkpoint_removes_none_in_another_work_dir(shapes, tmp_path, monkeypatch):
    """mmengine removes the best checkpoint so far, wherever that is."""
    name = 'classifier_lomar'

    def words(work, epochs):
        found = arguments(name, shapes, tmp_path / work, epochs, 'load_from=None')
        return ['train', *(word for word in found if word != '--no-validate')]

    train(words('a', 2))
    (best,) = (tmp_path / 'a').glob('best_*.pth')
    file = tmp_path / 'a/epoch_2.pth'
    content = load_file(file)
    content['message_hub']['runtime_info']['best_score'] = -1.0  # so that the next one is better
    torch.save(content, file)
    train([*words('b', 3), '--resume', str(file), '--accept-changes'])
    assert best.exists() and len(list((tmp_path / 'b').glob('best_*.pth'))) == 1
    (tmp_path / 'a').rename(tmp_path / 'c')  # there, the best one is that of this run
    train([*words('c', 3), '--resume', '--accept-changes'])
    (again,) = (tmp_path / 'c').glob('best_*.pth')
    assert again.name != best.name


def test_a_best_score_counts_for_the_same_validation(shapes, tmp_path):
    name, line = 'classifier_lomar', 'have changed: the best score in the checkpoint does not count'

    def words(work):
        found = arguments(name, shapes, tmp_path / work, 1, 'load_from=None')
        return ['train', *(word for word in found if word != '--no-validate')]

    train(words('a'))
    (figures,) = [one for one in logged(tmp_path / 'a').splitlines() if 'Epoch(val)' in one]
    assert 'accuracy/top1' in figures and 'ClassAccuracy' not in figures
    resume = ['--resume', str(tmp_path / 'a/epoch_1.pth')]
    assert train([*words('b'), *resume]).message_hub.runtime_info['best_score'] >= 0
    assert line not in logged(tmp_path / 'b')
    assert re.search(r'Epoch\(val\) [^\n(]*top1: [^\n(]*\n', logged(tmp_path / 'a'))
    shapes = shutil.copytree(shapes, tmp_path / 'other')
    labels = shapes / 'annotations/val.txt'
    labels.write_text(''.join(labels.read_text().splitlines(True)[1:]))
    info = train([*words('c'), *resume]).message_hub.runtime_info
    assert line in logged(tmp_path / 'c')
    assert info['best_ckpt'].startswith(str(tmp_path / 'c'))  # evaluated again


# Commands


def test_the_command(base, tmp_path):
    work = shutil.copytree(base / 'run', tmp_path / 'run')
    config = work / CONFIG.rpartition('/')[2]
    config.write_text('of the first run')
    words = line(base / 'images', work, flags=['--resume'], epochs=4)
    done = run_lomar(*words)
    text = done.stdout + done.stderr
    assert done.returncode == 1 and 'Traceback' not in text
    assert re.search(r'lomar train: --resume: the settings .*\n +setting +checkpoint +now', text)
    assert re.search(r'train_cfg.max_epochs +2 +4\n', text)
    assert config.read_text() == 'of the first run'
    assert not (work / 'epoch_3.pth').exists()
    done = run_lomar(*words, '--accept-changes')
    assert done.returncode == 0 and (work / 'epoch_4.pth').exists()
    assert 'resumed epoch: 2, iter: 8; the training ends at epoch: 4, iter: 16' in done.stdout


def test_two_processes_with_the_same_batch(base, tmp_path):
    """Images per step are compared; all processes go on, or stop with the differences."""
    work = shutil.copytree(base / 'run', tmp_path / 'run')
    (work / 'epoch_2.pth').unlink()
    flags, half = ['--resume', '--launcher', 'pytorch'], 'train_dataloader.batch_size=2'
    words = ('-m', 'lomar', *line(base / 'images', work, half, flags=flags))
    done = run_ranks(*words, count=2)
    assert done.returncode == 0, done.stderr
    assert 'resumed epoch: 1, iter: 4' in done.stdout
    assert (work / 'epoch_2.pth').exists()
    done = run_ranks(*words, 'randomness.seed=1', count=2)
    assert done.returncode == 1 and 'Traceback' not in done.stderr
    assert re.search(r'randomness.seed +0 +1', done.stderr)
