"""Schedules: one number sets their length, contradictions stop, the summary has the real rates."""

import logging
import math
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.registry import PARAM_SCHEDULERS

import lomar.register  # noqa: F401
from lomar.checkpoints import load_file
from lomar.engine import Runner
from lomar.engine.schedule import Length, check_lowest_rates, rates, resolve_schedule
from lomar.engine.startup_log_hook import _warm_up
from tests.recipes.resolved import length

TRAINED = sorted(
    path.relative_to(ROOT / 'mmconfigs').as_posix()
    for path in (ROOT / 'mmconfigs').rglob('*.py')
    if '_base_' not in path.parts
)
WARM_UP = dict(type='LinearLR', start_factor=1e-3, end='1/10', convert_to_iter_based=True)
COSINE = dict(type='CosineAnnealingLR', begin='1/10', convert_to_iter_based=True)
DECAY = dict(type='CosineAnnealingParamScheduler', param_name='weight_decay')
DROPS = dict(type='MultiStepLR', by_epoch=False, milestones=['8/9', '26/27'], gamma=0.1)
EPOCHS = Length(steps=200, epochs=20, epoch_steps=10)
STEPS = Length(steps=200, epochs=None, epoch_steps=10)


def build(entries, length):
    """Return an optimizer of two groups and its schedulers."""
    groups = [dict(params=[torch.zeros(1, requires_grad=True)], lr=lr) for lr in (0.5, 1.0)]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    given = dict(optimizer=optimizer, epoch_length=length.epoch_steps)
    resolved = resolve_schedule(entries, length)
    return optimizer, [PARAM_SCHEDULERS.build(each, default_args=given) for each in resolved]


def trained(entries, length):
    """Return the learning rates of all steps of a training."""
    optimizer, schedulers = build(entries, length)
    found = []
    for step in range(1, length.steps + 1):
        found.append(optimizer.param_groups[1]['lr'])
        optimizer.step()
        for each in schedulers:
            if not each.by_epoch or step % length.epoch_steps == 0:
                each.step()
    return found


@pytest.mark.parametrize('times', [2, 3])
@pytest.mark.parametrize('name', TRAINED)
def test_one_number_sets_the_length(name, times):
    """Warm-up, drops and end of all configs are in proportion to `train_cfg`."""
    cfg = Config.fromfile(ROOT / 'mmconfigs' / name)
    usual = length(cfg, 20)
    key = 'max_epochs' if usual.epochs else 'max_iters'
    cfg.train_cfg[key] = cfg.train_cfg[key] * times
    changed = length(cfg, 20)
    before, after = (resolve_schedule(cfg.param_scheduler, each) for each in (usual, changed))
    for old, new in zip(before, after, strict=True):
        for numbers in ('begin', 'end', 'milestones'):
            a, b = (torch.tensor(each.get(numbers, 0)) for each in (old, new))
            assert (b - a * times).abs().max() <= 1 + times
    assert max(each['end'] for each in after) == changed.steps


@pytest.mark.parametrize(
    ('entries', 'length', 'first', 'last'),
    [
        ([WARM_UP, COSINE], EPOCHS, 1e-3, (1 + math.cos(math.pi * 179 / 180)) / 2),
        ([WARM_UP, COSINE], Length(8, 8, 1), 1.0, (1 + math.cos(math.pi * 7 / 8)) / 2),
        ([dict(WARM_UP, end=1), dict(COSINE, begin=1)], Length(8, 8, 1), 1.0, 0.0495156),
        ([dict(WARM_UP, end=0.5)], Length(8, 8, 1), 1.0, 1.0),
        ([dict(WARM_UP, end=0.5)], EPOCHS, 1e-3, 1.0),
        ([dict(WARM_UP, convert_to_iter_based=False, by_epoch=False, end=1)], STEPS, 1.0, 1.0),
        ([dict(WARM_UP, convert_to_iter_based=False, by_epoch=False, end=2)], STEPS, 1e-3, 1.0),
        ([dict(WARM_UP, start_factor=1.0, end_factor=0.1, end='1/200')], EPOCHS, 0.1, 0.1),
        ([DROPS], STEPS, 1.0, 0.01),
        ([DROPS], Length(1, None, 1), 1.0, 1.0),
        ([dict(DROPS, by_epoch=True, convert_to_iter_based=True)], EPOCHS, 1.0, 0.01),
        ([dict(DROPS, by_epoch=True, milestones=[8, 16])], EPOCHS, 1.0, 0.01),
        ([dict(type='CosineAnnealingLR', end=10, by_epoch=True),
          dict(type='ConstantLR', begin=10, factor=1.0, by_epoch=True)], EPOCHS, 1.0, None),
        ([dict(WARM_UP, end=2)], EPOCHS, 1e-3, 1.0),  # then constant
        ([dict(type='ConstantLR', begin=19, factor=0.5)], EPOCHS, 1.0, 0.5),
        ([dict(type='ConstantLR', end=1, factor=1)], EPOCHS, 1.0, 1.0),
        ([dict(type='CosineAnnealingMomentum', eta_min=0.1, T_max=20)], EPOCHS, 1.0, 1.0),
        (dict(type='PolyLR', power=1.0, by_epoch=False), STEPS, 1.0, 0.0),
        ([], EPOCHS, 1.0, 1.0),
    ],
)  # fmt: skip
def test_rates_of_all_steps_and_of_the_summary(entries, length, first, last):
    if entries and 'Momentum' in str(entries):
        entries = [
            dict(entries[0], type='CosineAnnealingParamScheduler', param_name='weight_decay')
        ]
    found = trained(entries, length)
    assert found[0] == pytest.approx(first)
    assert last is None or found[-1] == pytest.approx(last, abs=1e-6)
    assert max(found) == pytest.approx(1 if first != 0.1 else 0.1)
    optimizer, schedulers = build(entries, length)
    steps = (0, length.steps // 2, length.steps - 1)
    said = rates(schedulers, optimizer.param_groups[1], 1, length, steps)
    assert said == {step: pytest.approx(found[step], rel=1e-12) for step in steps}
    assert optimizer.param_groups[1]['lr'] == found[0], 'the real optimizer is left alone'


@pytest.mark.parametrize(
    ('entries', 'length', 'line'),
    [
        ([dict(COSINE, end=8)], EPOCHS, r'param_scheduler.0 ends at step 80, and the training at '
         r'step 200 \(train_cfg.max_epochs=20, 200 steps\)'),
        ([dict(COSINE, end=1600)], EPOCHS, r'0.end is 1600, .*allowed: .* end at most 200 steps'),
        ([WARM_UP, dict(COSINE, T_max=7)], EPOCHS, r'param_scheduler.1.T_max is 7, but it lasts'),
        ([dict(COSINE, T_max=0)], EPOCHS, r'T_max is 0, but it lasts'),
        ([dict(COSINE, begin=20)], EPOCHS, r'begin is 20, and it lasts from 200 to 200 steps'),
        ([dict(COSINE, begin='1/0')], EPOCHS, r"0.begin is '1/0'; allowed: a number"),
        ([dict(COSINE, begin='5/4')], EPOCHS, r"0.begin is '5/4'; allowed: a number"),
        ([dict(COSINE, begin='5%')], EPOCHS, r"0.begin is '5%'; allowed: .* such as '1/20'"),
        ([dict(COSINE, begin=-1)], EPOCHS, r'0.begin is -1; allowed'),
        ([dict(COSINE, end=True)], EPOCHS, r'0.end is True; allowed'),
        ([COSINE], STEPS, r'counts epochs, and train_cfg counts iterations; .* by_epoch=False'),
        ([dict(COSINE, by_epoch=False)], STEPS, r'has convert_to_iter_based=True; allowed with'),
        ([dict(DROPS, milestones=[163889])], STEPS, r'milestones is \[163889\], but it'),
        ([dict(DROPS, milestones=[100, 300])], STEPS, r'milestones is \[100, 300\], but it lasts'),
        ([dict(DROPS, milestones=[0])], STEPS, r'milestones is \[0\]'),
        ([dict(type='StepLR', step_size=30)], EPOCHS, r'step_size is 30, but it lasts from 0'),
        ([dict(type='StepLR', step_size=0)], EPOCHS, r'step_size is 0'),
        ([dict(WARM_UP, end=1, convert_to_iter_based=False)], EPOCHS, r'than two epochs'),
        ([dict(WARM_UP, end=21)], EPOCHS, r'0.end is 21, .*end at most 200 steps'),
        ([dict(WARM_UP, start_factor=0)], EPOCHS, r'start_factor is 0; allowed: above 0'),
        ([dict(WARM_UP, start_factor='x', end=1)], EPOCHS, r"start_factor is 'x'; allowed"),
        ([dict(COSINE, eta_min=-1)], EPOCHS, r'0.eta_min is -1; allowed: a number of 0 or more'),
        ([dict(COSINE, eta_min='x')], EPOCHS, r"0.eta_min is 'x'; allowed: a number of 0"),
        ([dict(type='ExponentialLR', gamma=-1)], EPOCHS, r'0.gamma is -1; allowed: a number'),
        ([dict(type='ConstantLR', end=1)], EPOCHS, r'ConstantLR\) has one step, and never ends'),
        ([dict(type='OneCycleLR', eta_max=1.0, total_steps=9)], EPOCHS, r'total_steps is 9'),
        ([dict(type='CosineRestartLR', periods=[5, 5], restart_weights=[1, 1], eta_min=0)], EPOCHS,
         r'periods is \[5, 5\], but it lasts from 0 to 20 epochs'),
        ([dict(type='CosineLR')], EPOCHS, r"0.type is 'CosineLR', which is not a registered"),
    ],
)  # fmt: skip
def test_contradictions_stop(entries, length, line):
    with pytest.raises(ValueError, match=line) as caught:
        resolve_schedule(entries, length)
    assert str(caught.value).count('\n') == 0 and 'param_scheduler.' in str(caught.value)


@pytest.mark.parametrize(
    ('entry', 'line'),
    [
        (dict(COSINE, eta_min=1e-3), r'0.eta_min is 0.001, a rate of 0.001, .* starts at 0.0001'),
        (dict(COSINE, eta_min_ratio=2), r'0.eta_min_ratio is 2, a rate of 0.0002'),
        (dict(COSINE, eta_min=1e-4), None),
        (dict(COSINE, eta_min_ratio=1e-3), None),
        (dict(DECAY, eta_min=0.01), None),
        (dict(COSINE, type='CosineAnnealingMomentum', eta_min=0.8), None),
    ],
)  # fmt: skip
def test_annealing_that_would_raise_the_rate(entry, line):
    if line is None:
        check_lowest_rates([entry], [0.0, 1e-4, 1.0])
    else:
        with pytest.raises(ValueError, match=line):
            check_lowest_rates([entry], [0.0, 1e-4, 1.0])


@pytest.mark.parametrize(
    'entry',
    [
        dict(type='OneCycleLR', eta_max=0.1),
        dict(type='OneCycleLR', eta_max=0.1, anneal_strategy='linear'),
        dict(type='CosineRestartLR', periods=[20], restart_weights=[1], eta_min=0),
        dict(type='MultiStepLR', milestones=[3]),
        dict(type='ReduceOnPlateauLR'),
    ],
)
def test_the_state_of_a_scheduler_is_plain_data(entry, tmp_path):
    """Otherwise weights-only loading refuses the whole checkpoint."""
    _, (scheduler,) = build([entry], EPOCHS)
    torch.save(scheduler.state_dict(), tmp_path / 'state.pth')
    content = load_file(tmp_path / 'state.pth')
    assert content['param_name'] == 'lr' and 'optimizer' not in content


@pytest.mark.parametrize('name', ['momentum', 'weight_decay'])
def test_only_rates_are_scaled(name):
    """The effective batch is half of `base_batch_size`."""
    own = dict(type='CosineAnnealingParamScheduler', param_name=name, eta_min_ratio=0.1)
    rate = dict(type='CosineAnnealingLR', eta_min_ratio=0.1)
    runner = Runner.__new__(Runner)
    cycle = dict(type='OneCycleParamScheduler', param_name=name, eta_max=0.9)
    runner.param_schedulers = [own, rate, cycle]
    runner._train_dataloader, runner._world_size = dict(batch_size=4), 1
    runner.logger = logging.getLogger('scaled')
    wrapper = SimpleNamespace(_accumulative_counts=1, optimizer=build([], EPOCHS)[0])
    runner.scale_lr(wrapper, dict(enable=True, base_batch_size=8))
    assert (own['eta_min_ratio'], rate['eta_min_ratio']) == (0.1, 0.2)
    assert [group['lr'] for group in wrapper.optimizer.param_groups] == [0.25, 0.5]


def test_a_warm_up_is_of_the_rate():
    loop = SimpleNamespace(max_iters=200, max_epochs=20, dataloader=range(10))
    momentum = dict(type='LinearMomentum', start_factor=0.5, end=10)
    for entries, line in (([momentum], 'no warm-up'), ([momentum, WARM_UP], 'warm-up 2 epochs')):
        runner = SimpleNamespace(train_loop=loop, train_dataloader=None)
        runner.param_schedulers = build(entries, EPOCHS)[1]
        assert _warm_up(runner).startswith(line)
