"""Bad losses: what the optimizer leaves out, what is saved, what `lomar replay` computes."""

import itertools

import pytest
import torch
from conftest import DEVICE
from mmengine.hooks import Hook
from mmengine.optim import OptimWrapper
from old_checkpoints import arguments
from torch import nn

from lomar.checkpoints import load_file
from lomar.cli import main, parse_args
from lomar.compat.amp import BFloat16OptimWrapper
from lomar.engine import Runner, train_config
from lomar.engine.finite_loss_hook import FiniteLossHook
from lomar.engine.plain_batch import from_plain, to_plain
from lomar.engine.replay_file import replay, write_replay
from lomar.engine.step_guard import StepGuard
from lomar.engine.stopped import TrainingStopped
from lomar.models import LoMaR

NUMBERS = itertools.count()
OPTIMIZERS = dict(
    fused=lambda weights: torch.optim.AdamW(weights, lr=0.1, fused=True),
    plain=lambda weights: torch.optim.AdamW(weights, lr=0.1, foreach=False),
    sgd=lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
)


def state(optimizer):
    return [value.clone() for each in optimizer.state.values() for value in each.values()]


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
@pytest.mark.parametrize('freezes', [True, False])
@pytest.mark.parametrize('kind', [OptimWrapper, BFloat16OptimWrapper])
@pytest.mark.parametrize('name', OPTIMIZERS)
def test_a_bad_step_changes_nothing(name, kind, freezes, bad):
    model = nn.Linear(3, 2)
    wrapper = kind(OPTIMIZERS[name](model.parameters()), clip_grad=dict(max_norm=1.0))
    guard = StepGuard(wrapper, freezes)
    weights, states = [], []
    for guard.iteration, factor in enumerate([1.0, bad, 2.0]):
        wrapper.update_params(model(torch.ones(1, 3)).sum() * factor)
        weights.append(model.weight.detach().clone())
        states.append(state(wrapper.optimizer))
    assert weights[0].equal(weights[1])
    assert all(map(torch.equal, states[0], states[1])) and states[0]
    assert weights[1].equal(weights[2]) is freezes
    assert weights[2].isfinite().all() and (guard.first, guard.count) == (1, 1)


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_good_steps_are_the_same_bytes(name):
    results = []
    for guarded in (True, False):
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        wrapper = OptimWrapper(OPTIMIZERS[name](model.parameters()), accumulative_counts=2)
        if guarded:
            StepGuard(wrapper, freezes=True)
        wrapper.initialize_count_status(model, 0, 6)
        for number in range(6):
            wrapper.update_params(model(torch.ones(1, 3) * number).square().sum())
        results.append([model.weight, *state(wrapper.optimizer)])
    assert all(map(torch.equal, *results))


def build(name, shapes, work, *options, hook=None):
    always = ['load_from=None', 'train_dataloader.num_workers=0', *options]
    cfg = train_config(parse_args(['train', *arguments(name, shapes, work, 1, *always)]))
    cfg.experiment_name = f'finite{next(NUMBERS)}'  # mmengine keeps loggers by this name
    runner = Runner.from_cfg(cfg)
    if hook:
        runner.register_hook(hook)
    return runner


class Losses(Hook):
    """Hook that keeps the loss of every step, and writes two steps at the end of the epoch."""

    def __init__(self, path):
        self.path, self.values = path, []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append(outputs['loss'].item())

    def after_train_epoch(self, runner):
        write_replay(runner, [1, 2], self.path, runner.model.state_dict())


BF16 = ['optim_wrapper.type=AmpOptimWrapper', 'optim_wrapper.dtype=bfloat16']


@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('pretrain_lomar', ['model.backbone.drop_path_rate=0.2']),
        ('pretrain_lomar', ['model.windows.size=[4,6]', *BF16]),
        ('pretrain_mae', []),
        ('classifier_lomar', ['model.backbone.drop_path_rate=0.2']),
        ('detector_lomar', BF16),
    ],
)
def test_a_replayed_loss_is_that_of_the_training(name, options, shapes, tmp_path, capsys):
    frozen = 'optim_wrapper.optimizer.lr=0'  # the weights of all steps are those of the file
    hook = Losses(tmp_path / 'step.pth')
    build(
        name, shapes, tmp_path / 'run', frozen, 'param_scheduler=None', *options, hook=hook
    ).train()
    found = replay(hook.path, DEVICE)
    assert [each.step for each in found] == [2, 3] and all(each.finite for each in found)
    assert [each.losses['loss'] for each in found] == hook.values[1:3]
    assert len({*hook.values}) == 4
    assert main(['replay', str(hook.path), '--device', DEVICE]) == 0
    assert f'step 2: loss {found[0].losses["loss"]:.6g}' in capsys.readouterr().out


def spoil(monkeypatch, steps):
    """Make the loss of steps infinite, and that of a pretraining only."""
    loss, calls = LoMaR.loss, itertools.count()

    def spoiled(model, images):
        factor = float('inf') if next(calls) in steps else 1.0
        return {'loss': loss(model, images)['loss'] * factor}

    monkeypatch.setattr(LoMaR, 'loss', spoiled)


def test_bad_steps_are_left_out_and_named(shapes, tmp_path, monkeypatch):
    spoil(monkeypatch, {1, 2})
    options = ['default_hooks.finite_loss.action=skip', 'default_hooks.logger.interval=2']
    build('pretrain_lomar', shapes, tmp_path, *options).train()
    text = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'Left out: the loss of step 2 is NaN or infinite, 1 steps so far' in text
    assert 'Left out: the loss of step 3 is NaN or infinite, 2 steps so far' in text
    saved = load_file(tmp_path / 'epoch_1.pth')
    assert all(each.isfinite().all() for each in saved['state_dict'].values())
    assert {int(each['step']) for each in saved['optimizer']['state'].values()} == {2}  # of 4
    assert len([*tmp_path.glob('nonfinite_step_*.pth')]) == 2


def test_a_training_stops_before_it_saves(shapes, tmp_path, monkeypatch):
    """The weights are those before the bad step, although it is read two steps later."""
    spoil(monkeypatch, {1})
    runner = build('pretrain_lomar', shapes, tmp_path)
    with pytest.raises(TrainingStopped, match='the loss of step 2 is NaN or infinite'):
        runner.train()
    assert runner.iter == 3 and not [*tmp_path.glob('epoch_*.pth')]
    counts = {int(each['step']) for each in runner.optim_wrapper.optimizer.state.values()}
    assert counts == {1}
    assert [path.name for path in tmp_path.glob('*.pth')] == ['nonfinite_step_2.pth']


def test_a_batch_that_cannot_be_loaded_again(shapes, tmp_path, monkeypatch):
    spoil(monkeypatch, {1})
    sampler = ['train_dataloader.sampler.type=DefaultSampler']
    with pytest.raises(TrainingStopped, match='cannot be loaded again; possible with: train_data'):
        build('pretrain_lomar', shapes, tmp_path, *sampler).train()


@pytest.mark.parametrize(
    'content', [dict(state_dict={}), dict(replay=[1]), dict(meta=dict(cfg=''))], ids=str
)
def test_other_files_are_refused(content, tmp_path, capsys):
    torch.save(content, tmp_path / 'file.pth')
    assert main(['replay', str(tmp_path / 'file.pth')]) == 1
    assert (
        'file.pth holds no training step; allowed: nonfinite_step_N.pth' in capsys.readouterr().err
    )


def test_a_wrong_action_is_refused():
    with pytest.raises(ValueError, match=r"FiniteLossHook\.action is 'halt'; allowed: stop, skip"):
        FiniteLossHook('halt')


def test_objects_of_other_types():
    with pytest.raises(ValueError, match='an object of type complex cannot be saved'):
        to_plain(dict(inputs=[1j]))
    with pytest.raises(ValueError, match="an object of type 'os:system'; allowed: DataSample, "):
        from_plain({'saved type': 'os:system'})
