"""Errors whose cause is not the code: full memory or disk, a killed worker, a lost process."""

import errno
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from traceback import walk_tb

import torch

from lomar.engine.resume import latest_checkpoint

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
# Texts in errors of a collective whose other processes have ended or hang.
LOST = re.compile(r'gloo|NCCL|Connection (closed|reset) by peer|Broken pipe|Timed out waiting')
# PyTorch's text for the death of a worker: pid, and the name of the signal.
KILLED = re.compile(r'DataLoader worker \(pid (\d+)\) is killed by signal: ([\w ]+)\.')
CAUSES = {
    signal.SIGKILL: 'probably because the machine has run out of memory; use fewer '
    'train_dataloader.num_workers or a smaller batch_size',
    signal.SIGBUS: 'probably because /dev/shm is full; enlarge the shared memory '
    '(docker run --shm-size), or use fewer train_dataloader.num_workers',
}


def without_memory(error: Exception) -> str | None:
    """Return which memory was too small for an operation; None for another error."""
    if isinstance(error, torch.OutOfMemoryError):
        return 'The GPU has too little free memory'
    if isinstance(error, MemoryError) or 'DefaultCPUAllocator' in str(error):
        return 'The computer has too little free memory'
    return None


class TrainingStopped(OSError):
    """A training that cannot go on; its message is for the user."""


@contextmanager
def explained(work_dir: str | Path, trains: bool = True) -> Iterator[None]:
    """Raise errors of memory, storage, data workers and other processes as a `TrainingStopped`.

    The message has the cause, and for a training the last checkpoint in the work dir. Other errors
    are unchanged.
    """
    try:
        yield
    except (EOFError, MemoryError, OSError, RuntimeError) as error:
        try:
            reason = None if isinstance(error, TrainingStopped) else _reason(error, work_dir)
        except RuntimeError as named:  # of PyTorch's signal handler, which may run at any moment
            reason = _reason(named, work_dir)
        if reason is None:
            raise
        if not trains:
            raise TrainingStopped(reason) from error
        found = latest_checkpoint(work_dir)
        last = f'The last checkpoint is {found}' if found else 'There is no checkpoint yet'
        raise TrainingStopped(f'{reason}. {last}; --resume continues from it') from error


def _reason(error: Exception, work_dir: str | Path) -> str | None:
    """Return the cause of an error; None for an error that is not known."""
    if isinstance(error, OSError) and error.errno in FULL:
        what = f'{work_dir} cannot be written: {error.strerror}'
        return f'{what}. Free space, or use another --work-dir'
    if worker := _dead_worker(error):
        pid, number = worker
        ended = f'was killed by {number.name}' if number else 'ended unexpectedly'
        cause = CAUSES.get(number, 'see the messages above') if number else 'see the messages above'
        return f'A data worker (pid {pid}) {ended}, {cause}'
    if lacking := without_memory(error):
        return (
            f'{lacking}; use a smaller batch_size of the dataloader, in a training with '
            'optim_wrapper.accumulative_counts, or model.backbone.with_cp=True'
        )
    text = ' '.join(str(error).split())
    if isinstance(error, RuntimeError) and LOST.search(text):
        return (
            'Another process of the training has ended or does not answer; its own message has '
            f'the cause ({text[:200]})'
        )
    return None


def _dead_worker(error: BaseException | None) -> tuple[int, signal.Signals | None] | None:
    """Return pid and signal of the data worker whose death has caused an error, or None."""
    while error:
        if found := KILLED.search(str(error)):
            names = {signal.strsignal(each): each for each in signal.Signals}
            return int(found[1]), names.get(found[2])
        for frame, _ in walk_tb(error.__traceback__):
            workers = getattr(frame.f_locals.get('self'), '_workers', None)
            if workers and frame.f_globals['__name__'].startswith('torch.utils.data'):
                # A broken connection comes before the end of the process is known.
                seconds = 10 if isinstance(error, ConnectionError | EOFError) else 1
                ended = wait([each.sentinel for each in workers], timeout=seconds)
                for worker in workers:
                    if worker.sentinel in ended:  # it closes shortly before the end
                        worker.join(1)
                    if code := worker.exitcode:
                        return worker.pid, signal.Signals(-code) if code < 0 else None
        error = error.__cause__ or error.__context__
    return None
