"""Tiny trainings as processes, for tests that disturb them."""

import os
import re
import signal
import time
from pathlib import Path

import disturbances  # noqa: F401  (stored configs may name imported modules only)
import torch
from old_checkpoints import arguments
from processes import free_port, run_lomar, start, without_gpus

from lomar.checkpoints import load_file

TASKS = dict(
    pretraining='pretrain_lomar', classification='classifier_lomar', detection='detector_lomar'
)
ALWAYS = [
    'load_from=None',
    'default_hooks.logger.interval=1',
    'default_hooks.checkpoint.interval=1',
]
LIMIT = 120  # seconds until a process that should have ended is killed


CONFIG = """
_base_ = '{base}'
custom_imports = dict(imports=['lomar.register', 'disturbances'], allow_failed_imports=False)
custom_hooks = [*_base_.custom_hooks, dict(type='Disturb')]
"""


def words(task, shapes, work, *options, epochs=4, flags=()):
    """Return the arguments of `lomar` for a training of a task on the images in `shapes`.

    The environment variable DISTURB disturbs the training, see `disturbances.py`.
    """
    base, *found = arguments(TASKS[task], shapes, work, epochs, *ALWAYS, *options)
    config = Path(work).parent / f'{task}.py'
    config.write_text(CONFIG.format(base=base))
    return ['train', str(config), *flags, *found]


class Running:
    """A training in a process of its own; its output is in `text()`."""

    def __init__(self, words, folder, env=None):
        self.files = [Path(folder, f'{name}{time.monotonic_ns()}.txt') for name in ('out', 'err')]
        words = ['-m', 'lomar', *words]
        self.process = start(words, *self.files, env={**os.environ, **(env or {})})

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        return ''.join(file.read_text() for file in self.files if file.exists())

    def wait_for(self, pattern, limit=LIMIT):
        """Return when the output matches a pattern."""
        end = time.monotonic() + limit
        while not re.search(pattern, self.text()):
            assert self.process.is_alive() and time.monotonic() < end, self.text()
            time.sleep(0.01)

    def workers(self):
        """Return the processes that load data."""
        found = Path(f'/proc/{self.pid}/task/{self.pid}/children').read_text().split()
        return [int(pid) for pid in found]

    def send_all(self, number):
        """Send a signal to the process and its workers, as a terminal or Slurm does."""
        for pid in [*self.workers(), self.pid]:
            os.kill(pid, number)

    def end(self, limit=LIMIT):
        """Wait for the end; return the exit code as a shell shows it."""
        self.process.join(limit)
        if self.process.is_alive():
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f'still running after {limit} s: {self.text()}')
        code = self.process.exitcode
        return 128 - code if code < 0 else code


def ranks(words, folder, count, env=None):
    """Start a training in several processes, as `torchrun` does; return them in order of rank."""
    env = dict(
        env or {},
        **without_gpus(count),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=free_port(),
        WORLD_SIZE=str(count),
    )
    # Before --cfg-options, which takes all words after it.
    words = [*words[:2], '--launcher', 'pytorch', *words[2:]]
    places = [dict(RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(count)]
    return [Running(words, folder, {**env, **place}) for place in places]


def train(words, code=0, env=None):
    """Run a training to its end; return its output."""
    done = run_lomar(*words, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def same_bytes(one, other):
    """Assert that two checkpoints hold the same weights, optimizer state and schedule."""
    one, other = load_file(one), load_file(other)
    for key in ('state_dict', 'optimizer'):
        torch.testing.assert_close(one[key], other[key], atol=0, rtol=0)
    assert one['param_schedulers'] == other['param_schedulers']
    assert {key: one['meta'][key] for key in ('epoch', 'iter')} == {
        key: other['meta'][key] for key in ('epoch', 'iter')
    }


def one_line(text, *parts):
    """Assert that one line of the output has all parts, and that there is no traceback."""
    assert any(all(part in line for part in parts) for line in text.splitlines()), text
    assert 'Traceback' not in text, text
