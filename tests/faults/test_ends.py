"""Ends of a training that are no bug of it: one line, an exit code, and how to go on."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
from trainings import Running, one_line, ranks, same_bytes, train, words

from lomar.engine.resume import latest_checkpoint

RARE = 'default_hooks.checkpoint.interval=50'  # never within the test
LONG = dict(epochs=5000)


@pytest.mark.fault(
    'A data worker is killed, as by the kernel when memory is short',
    'The training ends within seconds with exit code 1. One line names the worker, the signal and '
    'the probable cause.',
)
def test_a_killed_data_worker(shapes, tmp_path):
    line = words('pretraining', shapes, tmp_path / 'run', 'train_dataloader.num_workers=2', **LONG)
    run = Running(line, tmp_path)
    run.wait_for(r'Epoch\(train\)\s+\[2\]')
    worker = run.workers()[0]
    os.kill(worker, signal.SIGKILL)
    assert run.end(20) == 1
    parts = (f'(pid {worker}) was killed by SIGKILL', 'out of memory', 'The last checkpoint is')
    # Python prints a traceback and goes on if PyTorch's signal handler raises within a log line.
    one_line(run.text().strip().splitlines()[-1], 'lomar train: ', *parts)


@pytest.mark.fault(
    'One of the two processes of a training is killed',
    'The launcher ends the other one within a minute. The exit code is not 0.',
)
@pytest.mark.long
def test_a_killed_process(shapes, tmp_path):
    both = ranks(words('pretraining', shapes, tmp_path / 'run', RARE, **LONG), tmp_path, 2)
    both[0].wait_for(r'Epoch\(train\)\s+\[2\]')
    os.kill(both[1].pid, signal.SIGKILL)
    assert both[0].end(60) == 1
    one_line(both[0].text(), 'lomar train: Another process of the training has ended or does not')


@pytest.mark.fault(
    'A step does not end, because the only process or one of two processes hangs',
    'Each process ends at the limit `env_cfg.step_minutes` (30 minutes by default, 12 seconds in '
    'the test) with exit code 1. One line names the limit.',
)
@pytest.mark.parametrize('count', [1, pytest.param(2, marks=pytest.mark.long)])
def test_a_step_that_hangs(count, shapes, tmp_path):
    line = words('pretraining', shapes, tmp_path / 'run', 'env_cfg.step_minutes=0.2')
    env = dict(DISTURB=f'hang 2 {count - 1}')
    runs = ranks(line, tmp_path, 2, env) if count == 2 else [Running(line, tmp_path, env)]
    runs[-1].wait_for('this step hangs')
    begin = time.monotonic()
    assert {run.end(40) for run in runs} == {1}
    assert count == 2 or time.monotonic() - begin > 10
    one_line(runs[-1].text(), 'has not ended for 0.2 minutes', 'env_cfg.step_minutes=N')


@pytest.mark.fault(
    'One of the two processes of a training is slower than the other',
    'The other one waits in each step. The bytes are the same.',
)
@pytest.mark.long
def test_a_slow_process(shapes, tmp_path):
    for work, env in (('equal', {}), ('slow', dict(DISTURB='slow 1'))):
        limit = 'env_cfg.step_minutes=0.2'  # 12 seconds: less than the whole, more than a step
        line = words('pretraining', shapes, tmp_path / work, limit, epochs=4)
        (logs := tmp_path / f'{work}-logs').mkdir()
        both = ranks(line, logs, 2, env)
        assert [run.end(120) for run in both] == [0, 0]
    assert both[1].text().count('this step is slow') >= 4
    same_bytes(tmp_path / 'equal/epoch_4.pth', tmp_path / 'slow/epoch_4.pth')


@pytest.mark.fault(
    'The disk is full while a checkpoint is saved',
    'The training ends with exit code 1, and one line names the last checkpoint. That checkpoint '
    'is complete, and the resumed run ends with the same bytes.',
)
@pytest.mark.parametrize('task', ['pretraining', pytest.param('detection', marks=pytest.mark.long)])
def test_a_full_disk(task, shapes, tmp_path, mounted):
    def line(work, *flags):
        return words(task, shapes, work, epochs=3, flags=flags)

    train(line(tmp_path / 'whole'))
    disk = mounted('size=16m')
    first = shutil.copy2(tmp_path / 'whole/epoch_2.pth', disk)
    filler = disk / 'filler'
    filler.write_bytes(bytes(shutil.disk_usage(disk).free - Path(first).stat().st_size * 4 // 5))
    text = train(line(disk, '--resume'), code=1)
    one_line(text, 'lomar train: ', 'No space left on device', f'last checkpoint is {first};')
    assert [path.name for path in disk.glob('*.pth*')] == ['epoch_2.pth']
    filler.unlink()
    train(line(disk, '--resume'))
    same_bytes(tmp_path / 'whole/epoch_3.pth', disk / 'epoch_3.pth')


@pytest.mark.fault(
    'The output folder is read-only, or cannot be made',
    'The training ends before the first step with exit code 1 and one line.',
)
@pytest.mark.parametrize('kind', ['read-only', 'a file'])
def test_an_output_that_cannot_be_written(kind, shapes, tmp_path, mounted):
    work = mounted('ro') if kind == 'read-only' else tmp_path / 'file'
    if kind == 'a file':
        work.touch()
    text = train(words('pretraining', shapes, work), code=1)
    one_line(text, 'lomar train: ', str(work))
    assert 'Epoch(train)' not in text


@pytest.mark.fault(
    'The clock of the machine jumps back by a day during a training, and before it is resumed',
    'The training goes on; times and ETA in the log stay positive. The newest checkpoint is '
    'resumed, also if older ones have later times, and the bytes are the same.',
)
def test_a_clock_that_jumps_back(shapes, tmp_path):
    def line(work, *flags):
        return words('pretraining', shapes, tmp_path / work, epochs=4, flags=flags)

    jump = dict(DISTURB='clock 2 -86400')
    text = train(line('run'), env=jump)
    assert 'the clock has jumped' in text
    figures = re.findall(r'(?:time|eta|images_per_second): (\S+)', text)
    assert len(figures) > 16 and not any('-' in figure for figure in figures)
    (tmp_path / 'run/epoch_4.pth').rename(tmp_path / 'whole.pth')
    for name in ('epoch_2.pth', 'epoch_3.pth'):
        tomorrow = time.time() + 86400
        os.utime(tmp_path / 'run' / name, (tomorrow, tomorrow))
    os.utime(tmp_path / 'run/epoch_3.pth', (tomorrow + 1, tomorrow + 1))
    train(line('run', '--resume'))
    assert latest_checkpoint(tmp_path / 'run') == str(tmp_path / 'run/epoch_4.pth')
    same_bytes(tmp_path / 'whole.pth', tmp_path / 'run/epoch_4.pth')


@pytest.mark.fault(
    'A second training in the work dir of one that is running',
    'It ends with one line before it writes a file. After the end of the first one, which may be '
    'SIGKILL, the work dir is free.',
)
def test_a_second_training_in_a_work_dir(shapes, tmp_path):
    line = words('pretraining', shapes, tmp_path / 'run', epochs=1)
    first = Running(line, tmp_path, dict(DISTURB='hang 1'))
    first.wait_for('this step hangs')
    (saved,) = (tmp_path / 'run').glob('*.py')
    before = saved.read_bytes()
    second = train([*line, 'train_dataloader.batch_size=4'], code=1)
    one_line(second, 'in which another training is running', f'process {first.pid} on')
    assert saved.read_bytes() == before
    os.kill(first.pid, signal.SIGKILL)
    assert first.end() == 137
    train(line)
