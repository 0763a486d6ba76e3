"""Hook that ends a process whose training steps do not end."""

import os
import threading
import time

from mmengine.hooks import Hook

from lomar.engine.data_workers import end_workers

STEP_MINUTES = 30.0
CHECKS = 0.5  # seconds between two looks at the clock


class StepLimitHook(Hook):
    """Hook that ends the process if a step of a training or an evaluation exceeds a limit.

    A step waits without end if another process, a GPU or a network drive hangs, often in code that
    Python cannot interrupt. So a thread watches the time and ends the process. Waiting for data
    counts; probes, metrics and checkpoints after an epoch do not. They have their own limit,
    `env_cfg.main_process_minutes`.

    Args:
        minutes: the limit, `env_cfg.step_minutes`.
    """

    priority = 'LOWEST'

    def __init__(self, minutes: float):
        self.minutes = minutes
        self._deadline: float | None = None
        self._ended = threading.Event()

    def before_train(self, runner) -> None:
        """Start the thread."""
        self._step = runner.iter
        threading.Thread(target=self._watch, daemon=True).start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()

    def before_train_epoch(self, runner) -> None:
        """Begin to watch the loading of the first batch."""
        self._begin()

    def before_val_epoch(self, runner) -> None:
        """Begin to watch the loading of the first batch."""
        self._begin()

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Begin to watch a step."""
        self._step = runner.iter
        self._begin()

    def before_val_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Begin to watch a batch of an evaluation."""
        self._begin()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Begin to watch the loading of the next batch, unless the epoch ends."""
        self._end(self.end_of_epoch(runner.train_dataloader, batch_idx))

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Begin to watch the loading of the next batch, unless the evaluation ends."""
        self._end(self.end_of_epoch(runner.val_dataloader, batch_idx))

    def _begin(self) -> None:
        self._deadline = time.monotonic() + 60 * self.minutes

    def _end(self, last: bool) -> None:
        if last:
            self._deadline = None
        else:
            self._begin()

    def _watch(self) -> None:
        while not self._ended.wait(CHECKS):
            deadline = self._deadline
            if deadline is not None and time.monotonic() > deadline:
                message = (
                    f'lomar train: step {self._step + 1} has not ended for {self.minutes:g} '
                    'minutes: another process, the GPU or the storage of the images hangs. If '
                    'steps are that slow, raise the limit: --cfg-options env_cfg.step_minutes=N. '
                    '--resume continues from the last checkpoint\n'
                )
                os.write(2, message.encode())
                end_workers()
                os._exit(1)
