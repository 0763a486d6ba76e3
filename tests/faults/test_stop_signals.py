"""SIGTERM and Ctrl-C: a checkpoint of the next step, the exit code, one line, the same bytes."""

import os
import re
import signal
import time

import pytest
from trainings import Running, one_line, ranks, same_bytes, train, words

from lomar.checkpoints import load_file
from lomar.engine.resume import INTERRUPTED

pytestmark = pytest.mark.cpu
RARE = 'default_hooks.checkpoint.interval=50'  # never within the test
WORKERS = 'train_dataloader.num_workers=2'
ACCUMULATION = 'optim_wrapper.accumulative_counts=2'


@pytest.mark.fault(
    'SIGTERM or Ctrl-C, sent to the training and its data workers',
    'The training ends after the next optimizer step with exit code 143 or 130, saves '
    '`interrupted.pth`, and one line says how to resume. The resumed run ends with the same bytes.',
)
@pytest.mark.parametrize(
    ('task', 'number', 'options'),
    [
        ('pretraining', signal.SIGTERM, [ACCUMULATION]),
        pytest.param('classification', signal.SIGINT, [], marks=pytest.mark.long),
        pytest.param('detection', signal.SIGTERM, [], marks=pytest.mark.long),
    ],
)
def test_a_signal_saves_and_ends(task, number, options, shapes, tmp_path):
    def line(work, *flags):
        return words(task, shapes, work, *options, RARE, WORKERS, epochs=3, flags=flags)

    run = Running(line(tmp_path / 'run'), tmp_path)
    run.wait_for(r'Epoch\(train\)\s+\[1\]\[1/4\]')
    run.send_all(number)
    assert run.end(30) == 128 + number
    one_line(run.text(), f'Stopped by {signal.Signals(number).name} after step', '--resume')
    saved = load_file(tmp_path / 'run' / INTERRUPTED)['meta']
    assert 1 <= saved['iter'] < 12 and saved['iter'] % (2 if options else 1) == 0
    train(line(tmp_path / 'run', '--resume'))
    train(line(tmp_path / 'whole'))
    same_bytes(tmp_path / 'whole/epoch_3.pth', tmp_path / 'run/epoch_3.pth')
    assert not (tmp_path / 'run' / INTERRUPTED).exists()


@pytest.mark.fault(
    'SIGTERM, sent to one of two processes of a training',
    'Both processes stop after the same step with exit code 143. The resumed training ends with '
    'the same bytes.',
)
@pytest.mark.long
def test_all_processes_stop_after_the_same_step(shapes, tmp_path):
    def line(work, *flags):
        return words(
            'pretraining', shapes, work, RARE, 'train_dataloader.batch_size=4', flags=flags
        )

    def run(work, *flags, disturb=lambda _: None):
        both = ranks(line(tmp_path / work, *flags), tmp_path, 2)
        disturb(both)
        return [one.end() for one in both], both[0].text()

    def terminate(both):
        both[0].wait_for(r'Epoch\(train\)\s+\[1\]\[1/4\]')
        os.kill(both[1].pid, signal.SIGTERM)

    codes, text = run('run', disturb=terminate)
    assert codes == [143, 143]
    one_line(text, 'Stopped by SIGTERM after step', '--resume')
    assert run('run', '--resume')[0] == run('whole')[0] == [0, 0]
    same_bytes(tmp_path / 'whole/epoch_4.pth', tmp_path / 'run/epoch_4.pth')


def evaluated(shapes, work):
    """Return the arguments for a training with an evaluation of one image per batch."""
    options = ['train_cfg.val_interval=1', 'val_dataloader.batch_size=1']
    line = words('classification', shapes, work, *options, epochs=2)
    line.remove('--no-validate')
    return line


@pytest.mark.fault(
    'SIGTERM during an evaluation',
    'The training ends after a batch of the evaluation with exit code 143. The resumed training '
    'evaluates first.',
)
@pytest.mark.long
def test_a_signal_during_an_evaluation(shapes, tmp_path):
    line = evaluated(shapes, tmp_path / 'run')
    run = Running(line, tmp_path, dict(DISTURB='evaluate'))
    run.wait_for('evaluating')
    os.kill(run.pid, signal.SIGTERM)
    assert run.end(30) == 143
    one_line(run.text(), 'Stopped by SIGTERM after step 4', 'epoch_1.pth is saved')
    resumed = train([*line[:2], '--resume', *line[2:]])
    assert re.search('Evaluation at iteration 4: .*interrupted', resumed)


@pytest.mark.fault(
    'SIGTERM during an evaluation, sent to one of two processes',
    'Both processes stop after the same batch of the evaluation with exit code 143.',
)
@pytest.mark.long
def test_all_processes_stop_after_the_same_batch(shapes, tmp_path):
    line = evaluated(shapes, tmp_path / 'run')
    # 16 batches of a second for each process: signals are exchanged after the first and the sixth.
    line[line.index('--val-images') + 1] = str(shapes / 'annotations/train.txt')
    both = ranks(line, tmp_path, 2, dict(DISTURB='evaluate'))
    both[1].wait_for('evaluating')
    os.kill(both[1].pid, signal.SIGTERM)
    assert [one.end(60) for one in both] == [143, 143]
    one_line(both[0].text(), 'Stopped by SIGTERM after step 2', 'epoch_1.pth is saved')
    assert both[0].text().count('evaluating') < 16


@pytest.mark.fault(
    'A second SIGTERM while the training waits for its step to end',
    'The process ends at once with exit code 143.',
)
def test_a_second_signal_ends_at_once(shapes, tmp_path):
    """The first signal waits for a step that never ends."""
    line = words('pretraining', shapes, tmp_path / 'run')
    run = Running(line, tmp_path, dict(DISTURB='hang 1'))
    run.wait_for('this step hangs')
    os.kill(run.pid, signal.SIGTERM)
    time.sleep(1.5)
    assert run.process.is_alive()
    os.kill(run.pid, signal.SIGTERM)
    assert run.end(5) == 143
    assert not list((tmp_path / 'run').glob('*.pth'))
