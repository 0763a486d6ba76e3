"""SIGKILL at random moments: every resumed training ends with the bytes of an uninterrupted one."""

import os
import random
import signal
import time

import pytest
from trainings import Running, same_bytes, train, words

from lomar.checkpoints import load_file
from lomar.engine.resume import checkpoints

pytestmark = pytest.mark.cpu


@pytest.mark.fault(
    'SIGKILL at random moments and in the middle of a checkpoint file',
    'Every checkpoint with a final name is complete. The resumed training ends with the same bytes '
    'as an uninterrupted one.',
)
@pytest.mark.parametrize(
    ('task', 'kills'),
    [
        ('pretraining', 3),
        *(pytest.param(task, 10, marks=pytest.mark.long) for task in ('pretraining',)),
        pytest.param('classification', 10, marks=pytest.mark.long),
        pytest.param('detection', 10, marks=pytest.mark.long),
    ],
)
def test_kills(task, kills, shapes, tmp_path, record_property):
    epochs, moments = (2 if task == 'detection' else 4) * kills, random.Random(kills)

    def line(work, *flags):
        options = ['default_hooks.checkpoint.interval=2', 'train_dataloader.num_workers=1']
        return words(task, shapes, tmp_path / work, *options, epochs=epochs, flags=flags)

    killed = 0
    for number in range(kills):
        writing = number % 3 == 1
        env = dict(DISTURB=f'write {moments.randrange(2)}') if writing else None
        run = Running(line('run', '--resume'), tmp_path, env)
        if not writing:
            run.wait_for(r'Epoch\(train\)')
            time.sleep(moments.uniform(0, 1))
            if run.process.is_alive():
                os.kill(run.pid, signal.SIGKILL)
        code = run.end()
        killed += code == 128 + signal.SIGKILL
        assert code in (0, 128 + signal.SIGKILL), run.text()
        for file in checkpoints(tmp_path / 'run'):
            load_file(file)
    assert killed >= kills - 1, 'the training ended before it could be killed'
    train(line('run', '--resume'))
    train(line('whole'))
    same_bytes(tmp_path / f'whole/epoch_{epochs}.pth', tmp_path / f'run/epoch_{epochs}.pth')
    assert not [*(tmp_path / 'run').glob('.*.part')]
    record_property('times', killed)
