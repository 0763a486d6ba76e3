"""Ends of a training in one line, the limits, and the order of checkpoints."""

import errno
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lomar.compat.dist import MainProcess
from lomar.engine.data_workers import end_workers, protect_workers
from lomar.engine.distributed import start_processes, step_minutes
from lomar.engine.resume import latest_checkpoint, make_newest
from lomar.engine.stopped import TrainingStopped, explained

GLOO = '[../third_party/gloo/gloo/transport/tcp/pair.cc:538] Connection closed by peer [127.0.0.1]'
ERRORS = dict(
    disk=(OSError(errno.ENOSPC, 'No space left on device'), 'run cannot be written: No space'),
    quota=(OSError(errno.EDQUOT, 'Disk quota exceeded'), 'run cannot be written: Disk quota'),
    memory=(
        RuntimeError('DataLoader worker (pid 12) is killed by signal: Killed. '),
        r'\(pid 12\) was killed by SIGKILL, probably because the machine has run out of memory',
    ),
    shared=(
        RuntimeError('DataLoader worker (pid 12) is killed by signal: Bus error. It is possible'),
        r'\(pid 12\) was killed by SIGBUS, probably because /dev/shm is full',
    ),
    gpu=(
        torch.OutOfMemoryError('CUDA out of memory.'),
        'The GPU has too little free memory; use a',
    ),
    array=(MemoryError('Unable to allocate 9 GiB'), 'The computer has too little free memory; use'),
    tensor=(
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        'The computer has too little free memory; use a smaller batch_size',
    ),
    peer=(RuntimeError(GLOO), 'Another process of the training has ended or does not answer'),
)


@pytest.mark.parametrize('name', ERRORS)
def test_errors_that_are_explained(name, tmp_path):
    error, message = ERRORS[name]
    nothing = pytest.raises(TrainingStopped, match=f'{message}.*There is no checkpoint yet')
    with nothing, explained(tmp_path / 'run'):
        raise error
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/epoch_3.pth').touch()
    last = pytest.raises(TrainingStopped, match=r'last checkpoint is .*epoch_3\.pth; --resume')
    with last, explained(tmp_path / 'run'):
        raise error


def test_gloo_that_cannot_connect(monkeypatch):
    def fail(**options):
        raise RuntimeError('Gloo connectFullMesh failed')

    monkeypatch.setattr('torch.distributed.new_group', fail)
    with pytest.raises(ConnectionError, match=r'GLOO_SOCKET_IFNAME .*connectFullMesh failed'):
        MainProcess().allow(1)


@pytest.mark.parametrize(
    'error', [OSError(errno.ENOENT, 'gone', 'a.jpg'), RuntimeError('shape'), TrainingStopped('a')]
)
def test_other_errors_are_unchanged(error, tmp_path):
    with pytest.raises(type(error)) as caught, explained(tmp_path):
        raise error
    assert caught.value is error


class Slow(Dataset):
    def __len__(self):
        return 100

    def __getitem__(self, index):
        time.sleep(0.05)
        return torch.tensor(index)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_workers_survive_a_signal_that_is_not_of_their_parent(number):
    """Before, the training ended without a checkpoint: its workers were gone."""
    loader = protect_workers(DataLoader(Slow(), num_workers=1, multiprocessing_context='fork'))
    batches = iter(loader)
    assert int(next(batches)) == 0
    (worker,) = batches._workers
    if not (sender := os.fork()):  # PyTorch's workers end when their parent sends SIGTERM
        os.kill(worker.pid, number)
        os._exit(0)
    os.waitpid(sender, 0)
    assert [int(next(batches)) for _ in range(5)] == [1, 2, 3, 4, 5] and worker.is_alive()
    begin = time.monotonic()
    end_workers()
    worker.join()
    assert time.monotonic() - begin < 3 and worker.exitcode == 0


def test_workers_of_a_killed_process_end():
    reader, writer = os.pipe()
    if not (process := os.fork()):
        loader = protect_workers(DataLoader(Slow(), num_workers=1, multiprocessing_context='fork'))
        batches = iter(loader)
        next(batches)
        os.write(writer, str(batches._workers[0].pid).encode())
        time.sleep(60)
        os._exit(0)
    worker = int(os.read(reader, 100))
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)
    end, status = time.monotonic() + 10, Path(f'/proc/{worker}/stat')
    while status.exists() and ') Z' not in status.read_text():
        assert time.monotonic() < end, 'the worker is still there'
        time.sleep(0.2)


def test_a_killed_worker_is_named(tmp_path):
    loader = protect_workers(DataLoader(Slow(), num_workers=1, multiprocessing_context='fork'))
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    os.kill(worker.pid, signal.SIGKILL)
    named = pytest.raises(TrainingStopped, match=rf'\(pid {worker.pid}\) was killed by SIGKILL')
    with named, explained(tmp_path):
        list(batches)


class Ending:
    """A worker whose signal reaches the main process while its exit code is read."""

    pid = 12

    def __init__(self):
        self.sentinel, writer = os.pipe()
        os.close(writer)

    def join(self, seconds):
        pass

    @property
    def exitcode(self):
        raise ERRORS['memory'][0]


def test_a_signal_that_comes_while_an_error_is_explained(tmp_path):
    scope = dict(__name__='torch.utils.data.loader')
    exec('def take(self):\n    raise ConnectionResetError', scope)
    batches = SimpleNamespace(_workers=[Ending()])
    with pytest.raises(TrainingStopped, match=ERRORS['memory'][1]), explained(tmp_path):
        scope['take'](batches)


def test_the_newest_checkpoint_is_the_last_one_written(tmp_path):
    """Also after the clock was set back."""
    tomorrow = time.time() + 86400
    for name in ('epoch_1.pth', 'epoch_2.pth', 'best_epoch_9.pth'):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (tomorrow, tomorrow))
    for name in ('epoch_3.pth', 'interrupted.pth', 'epoch_4.pth'):
        (tmp_path / name).touch()
        make_newest(tmp_path / name)
        assert latest_checkpoint(tmp_path) == str(tmp_path / name)


@pytest.mark.parametrize('key', ['step_minutes', 'main_process_minutes'])
@pytest.mark.parametrize('value', [0, -1, True, 'an hour'])
def test_limits_that_are_none(key, value):
    with pytest.raises(ValueError, match=rf'env_cfg\.{key} is .*; allowed: more than 0'):
        start_processes('none', {key: value})
    assert step_minutes({}) == 30
