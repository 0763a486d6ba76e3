"""Hook that stops a training, or leaves out steps, whose loss is NaN or infinite."""

from pathlib import Path

import torch
from mmengine.dist import get_rank
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.optim import OptimWrapper
from mmengine.registry import HOOKS

from lomar.compat.dist import main_process
from lomar.engine.replay_file import write_replay
from lomar.engine.step_guard import StepGuard
from lomar.engine.stopped import TrainingStopped
from lomar.utils import check_choice, unwrapped

INTERVAL = 50  # steps between two readings without a LoggerHook
MAX_FILES = 3  # of a run that leaves out steps
SKIP = 'default_hooks.finite_loss.action=skip'


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Hook that stops a training whose loss or gradients are NaN or infinite, or leaves out steps.

    Losses are checked on their device. The CPU reads the result at the interval of the log, before
    a checkpoint is saved, and after an epoch. The optimizer never makes a step with such gradients
    (`StepGuard`), so that the weights remain good. The batch of the step is written to the work
    dir as `nonfinite_step_N.pth`, for `lomar replay`.

    Args:
        action: 'stop' to end the training at the next reading; the weights remain those before the
            first bad step. 'skip' to leave out bad steps and go on.
    """

    priority = 'LOW'  # before the checkpoint is written

    def __init__(self, action: str = 'stop'):
        check_choice('FiniteLossHook.action', action, ('stop', 'skip'))
        self.action, self.files, self.left_out = action, 0, 0
        self._readings: list[int] = []  # intervals of steps
        self._guard: StepGuard | None = None
        self._first: torch.Tensor | None = None  # step of the first bad loss since the last reading

    def before_train(self, runner) -> None:
        """Guard the steps of the optimizer, and find the intervals of logs and checkpoints."""
        if isinstance(runner.optim_wrapper, OptimWrapper):  # one optimizer
            self._guard = StepGuard(runner.optim_wrapper, freezes=self.action == 'stop')
        logs = [hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)]
        saves = [
            hook.interval
            for hook in runner.hooks
            if isinstance(hook, CheckpointHook) and not hook.by_epoch and hook.interval > 0
        ]
        self._readings = [min(logs, default=INTERVAL), *saves]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Tell the guard the number of the step."""
        if self._guard:
            self._guard.iteration = runner.iter

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Check the loss on its device; read the result if a reading is due."""
        loss = (outputs or {}).get('loss')
        if loss is not None:
            bad = ~torch.isfinite(torch.as_tensor(loss).detach())
            if self._first is None:
                self._first = torch.full_like(bad, -1, dtype=torch.int64)
            self._first = torch.where(bad & (self._first < 0), runner.iter, self._first)
        due = any((runner.iter + 1) % interval == 0 for interval in self._readings)
        if due or self.is_last_train_iter(runner):
            self.read(runner)

    def after_train_epoch(self, runner) -> None:
        """Read the result before the checkpoint of the epoch is written."""
        self.read(runner)

    def read(self, runner) -> None:
        """Read the flags of all processes; log, save the batch, and stop if there are bad steps.

        Raises:
            TrainingStopped: a step was bad, and `action` is 'stop'.
        """
        own = self._read_flags()
        every = main_process.gather(own, 'checking the losses')
        losses = [each[0] for each in every if each[0] >= 0]
        step, count = max(each[1] for each in every), max(each[2] for each in every)
        if not losses and not count:
            return
        self.left_out += count
        if losses and (step < 0 or min(losses) <= step):
            first, what = min(losses), 'the loss'
            steps = [own[0]] if own[0] in range(first, max(step, first) + 1) else []
        else:
            length = runner.optim_wrapper._accumulative_counts
            first, what = step, 'a gradient'
            steps = [each for each in range(step - length + 1, step + 1) if each >= 0]
        saved = self._save(runner, steps, first)
        message = f'{what} of step {first + 1} is NaN or infinite'
        if self.action == 'stop':
            raise TrainingStopped(
                f'{message}. The weights are still those before this step, and the last checkpoint '
                f'is good; {saved}. Lower the learning rate or find the cause, then use --resume; '
                f'to leave out such steps: --cfg-options {SKIP}'
            )
        runner.logger.warning(f'Left out: {message}, {self.left_out} steps so far; {saved}')

    def _read_flags(self) -> list[int]:
        """Return first step with a bad loss, first bad optimizer step, their number; reset."""
        flags = [torch.full((), -1) if self._first is None else self._first]
        flags += [self._guard.first, self._guard.count] if self._guard else [flags[0], flags[0] * 0]
        values = [int(each) for each in torch.stack([each.to(flags[0]) for each in flags])]
        self._first = None
        if self._guard:
            self._guard.reset()
        return values

    def _save(self, runner, steps: list[int], first: int) -> str:
        """Write the steps of this process; return what was written, for the log."""
        weights = unwrapped(runner.model).state_dict()  # of sharded models by all processes
        name = f'nonfinite_step_{first + 1}'
        if not main_process.alone:
            name += f'_rank{get_rank()}'
        path, done = Path(runner.work_dir, f'{name}.pth'), 'its batch is in another process'
        if steps and self.files >= MAX_FILES:
            done = f'its batch is not saved, because {MAX_FILES} are already'
        elif steps:
            try:
                write_replay(runner, steps, path, weights)
                self.files += 1
                done = f'its batch is in {path}, and `lomar replay {path}` computes it again'
            except ValueError as error:
                done = str(error)
        main_process.wait('saving a batch')
        return done
