"""Protection of data workers from signals that are meant for the main process."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from functools import partial

from torch.utils.data import DataLoader

CHECKS = 2  # seconds between two looks at the parent of a worker


def protect_workers(loader: DataLoader) -> DataLoader:
    """Make the workers of a dataloader survive a signal that the whole job receives; return it.

    Ctrl-C, Slurm and torchrun send signals to all processes. The main process needs the workers for
    the step after which it saves a checkpoint.
    """
    if loader.num_workers:
        loader.worker_init_fn = partial(_begin, os.getpid(), loader.worker_init_fn)
    return loader


def end_workers() -> None:
    """End all workers of this process at once; Python waits 5 seconds for each at its exit."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.terminate()


def _begin(parent: int, then: Callable | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with, args=[parent], daemon=True).start()
    if then:
        then(worker)


def _end_with(parent: int) -> None:
    """End this process when its parent sends SIGTERM or has ended.

    PyTorch's workers of a killed process may wait without end for their queue.
    """
    origin, found = os.getppid(), None
    while os.getppid() == origin and (found is None or found.si_pid != parent):
        found = signal.sigtimedwait({signal.SIGTERM}, CHECKS)
    os._exit(0)
