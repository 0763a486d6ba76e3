"""Hook that saves a checkpoint and ends a training after SIGTERM or Ctrl-C."""

import os
import signal
import threading
import time
from collections.abc import Callable

from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.runner import EpochBasedTrainLoop

from lomar.compat.dist import main_process
from lomar.engine.data_workers import end_workers
from lomar.engine.finite_loss_hook import FiniteLossHook
from lomar.engine.resume import INTERRUPTED

SIGNALS = (signal.SIGINT, signal.SIGTERM)
# Seconds within which a second signal is the first one again: launchers and terminals may both send
# a signal to the same process.
REPEATED = 1.0
BATCHES = 5  # of an evaluation between two exchanges: processes wait for the slowest one


class StopSignalHook(Hook):
    """Hook that ends a training after SIGINT or SIGTERM, with a checkpoint to resume from.

    The training ends after the next step of the optimizer, in all processes after the same one:
    processes reduce the received signals after a step and read the result after the next step. The
    exit code is 128 + number of the signal. A second signal ends the process at once. During an
    evaluation the training ends after a batch; several processes exchange signals every `BATCHES`
    of them.
    """

    priority = 'LOWEST'  # checkpoints and schedules of the step come first

    def __init__(self):
        self.received, self._time, self._process = 0, 0.0, 0
        self._former: dict = {}
        self._pending: Callable[[], int] | None = None
        self._batches = 0  # of an evaluation, in the process with the fewest
        self._passes = 0  # over the images: mmpretrain's EMAHook evaluates twice

    def before_train(self, runner) -> None:
        """Listen to the signals; before, they end the process at once."""
        self._process = os.getpid()
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            self._former = {number: signal.signal(number, self._receive) for number in SIGNALS}

    def close(self) -> None:
        """Restore the former handlers of the signals."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """End the training if a signal was received, unless the epoch or the step goes on."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        ends = by_epoch and self.end_of_epoch(runner.train_dataloader, batch_idx)
        if runner.optim_wrapper.should_update() and not ends:  # checkpoints hold no gradients
            self._stop_if_agreed(runner, runner.epoch, runner.iter + 1)

    def after_train_epoch(self, runner) -> None:
        """End the training if a signal was received."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        if by_epoch and runner.optim_wrapper.should_update():
            self._stop_if_agreed(runner, runner.epoch + 1, runner.iter)

    def before_val_epoch(self, runner) -> None:
        """Find the number of batches that every process has: samplers may differ by one."""
        if runner._train_loop is not None:
            counts = main_process.gather(len(runner.val_dataloader), 'counting batches')
            self._batches = min(counts)
            self._passes = 0

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """End an evaluation, which a resumed training repeats."""
        if runner._train_loop is None:
            return
        self._passes += batch_idx == 0
        exchanges = batch_idx % BATCHES == 0 and batch_idx < self._batches
        if number := self._agreed() if main_process.alone or exchanges else 0:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook) and self._evaluates_average(hook):
                    hook._swap_ema_parameters()  # as after an evaluation
            self._stop(runner, number, runner.epoch, runner.iter)

    def _evaluates_average(self, hook: EMAHook) -> bool:
        """Return whether the hook has exchanged weights and average for the evaluation."""
        return self._passes <= 1 and getattr(hook, 'evaluate_on_ema', True)

    def after_train(self, runner) -> None:
        """Finish the last exchange of signals."""
        if self._pending:
            self._pending()
            self._pending = None

    def _stop_if_agreed(self, runner, epoch: int, step: int) -> None:
        if number := self._agreed():
            self._stop(runner, number, epoch, step)

    def _agreed(self) -> int:
        """Return the signal that a process had received by the last exchange, and start another."""
        if main_process.alone:
            return self.received
        number = self._pending() if self._pending else 0
        self._pending = main_process.largest_later(self.received, 'exchange of signals')
        return number

    def _stop(self, runner, number: int, epoch: int, step: int) -> None:
        """Save a checkpoint unless there is one of this step, and exit."""
        for hook in runner.hooks:
            if isinstance(hook, FiniteLossHook):
                hook.read(runner)
        saves = any(isinstance(hook, CheckpointHook) for hook in runner.hooks)
        if saves and runner.saved_step != step:
            meta = dict(epoch=epoch, iter=step)
            runner.save_checkpoint(runner.work_dir, INTERRUPTED, meta=meta, by_epoch=False)
        main_process.wait('saving after a signal')  # launchers end all processes with the first one
        advice = (
            f'{runner.saved_file} is saved; to continue, repeat the command with --resume'
            if saves
            else 'nothing is saved, because default_hooks.checkpoint is None'
        )
        name = signal.Signals(number).name
        runner.logger.warning(f'Stopped by {name} after step {step}: {advice}')
        end_workers()
        raise SystemExit(128 + number)

    def _receive(self, number: int, frame) -> None:
        if os.getpid() != self._process:  # a forked process, which has no checkpoint to save
            os._exit(128 + number)
        now = time.monotonic()
        if not self.received:
            self.received, self._time = number, now
        elif now - self._time > REPEATED:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
