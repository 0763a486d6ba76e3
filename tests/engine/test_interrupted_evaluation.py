"""A training that was stopped during an evaluation evaluates when it resumes."""

import itertools

import pytest
from mmengine.runner import ValLoop
from old_checkpoints import arguments, make_shapes

from lomar.checkpoints import load_file
from lomar.cli import parse_args
from lomar.engine import Runner, train_config

EPOCHS, IMAGES = 2, 8
EVERY = ['train_cfg.val_interval=1']
STEPS = ['train_cfg.type=ReplayIterLoop', 'train_cfg.val_interval=2']
STEPS += ['train_cfg.max_epochs=None', 'train_cfg.max_iters=4', 'param_scheduler=None']
STEPS += ['train_dataloader.sampler.type=InfiniteReplaySampler']
STEPS += ['default_hooks.checkpoint.by_epoch=False', 'default_hooks.checkpoint.interval=2']
NUMBERS = itertools.count()


class Killed(BaseException):
    """In place of a signal."""


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    return make_shapes(tmp_path_factory.mktemp('shapes') / 'shapes', IMAGES)


def train(shapes, work, options, *flags):
    words = arguments('classifier_lomar', shapes, work, EPOCHS, 'load_from=None', *options)
    words = [word for word in words if word != '--no-validate']
    cfg = train_config(parse_args(['train', *words, *flags]))
    cfg.experiment_name = f'evaluated{next(NUMBERS)}'  # mmengine keeps loggers by this name
    Runner.from_cfg(cfg).train()


@pytest.mark.parametrize('options', [EVERY, STEPS], ids=['epochs', 'steps'])
@pytest.mark.parametrize('number', [1, 2])
def test_it_is_repeated(options, number, shapes, tmp_path, monkeypatch):
    evaluate, evaluated = ValLoop.run, []

    def run(loop):
        evaluated.append(loop.runner.iter)
        if len(evaluated) == number and not (tmp_path / 'killed').exists():
            (tmp_path / 'killed').touch()
            raise Killed
        return evaluate(loop)

    train(shapes, tmp_path / 'whole', options)
    monkeypatch.setattr(ValLoop, 'run', run)
    with pytest.raises(Killed):
        train(shapes, tmp_path / 'run', options)
    stopped = evaluated[-1]
    train(shapes, tmp_path / 'run', options, '--resume')
    assert evaluated.count(stopped) == 2 and len(evaluated) == 3
    bests = [sorted(tmp_path.glob(f'{run}/best_*')) for run in ('whole', 'run')]
    assert [path.name for path in bests[0]] == [path.name for path in bests[1]] and bests[0]
    scores = [load_file(*best)['message_hub']['runtime_info']['best_score'] for best in bests]
    assert scores[0] == scores[1]
    train(shapes, tmp_path / 'run', options, '--resume')
    assert len(evaluated) == 3, 'a finished evaluation is not repeated'


def test_a_new_training_forgets_the_evaluation_of_an_earlier_one(shapes, tmp_path, monkeypatch):
    train(shapes, tmp_path, ['train_cfg.val_interval=2'])

    def killed(loop):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(ValLoop, 'run', killed)
        train(shapes, tmp_path, ['train_cfg.val_interval=2'])
    file = tmp_path / 'last_evaluation'
    assert not file.exists()
    train(shapes, tmp_path, ['train_cfg.val_interval=2'], '--resume')
    assert file.exists()
