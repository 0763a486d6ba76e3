"""Hook that repeats an evaluation during which a training was interrupted."""

from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner

from lomar.compat.dist import main_process
from lomar.utils import atomic_write

FILE = 'last_evaluation'  # in the work dir: iterations before the last evaluation that finished


class InterruptedEvaluationHook(Hook):
    """Hook that evaluates at the start of a resumed training if the evaluation is missing.

    A checkpoint is saved before the evaluation at the same step. mmengine's loops resume after the
    evaluation, so that its metrics, and the best checkpoint that it may find, would be missing.
    """

    priority = 'LOWEST'  # the other hooks prepare themselves before the training, too

    def before_train(self, runner: Runner) -> None:
        """Evaluate, if an evaluation is due at the resumed step and did not finish."""
        file = Path(runner.work_dir) / FILE

        def finished() -> bool:
            if runner.iter == 0:  # the file is that of an earlier run in the work dir
                file.unlink(missing_ok=True)
            return file.exists() and file.read_text() == str(runner.iter)

        known = main_process.share(finished, 'reading of the last evaluation')
        if runner.val_loop is not None and _is_due(runner.train_loop) and not known:
            runner.logger.info(
                f'Evaluation at iteration {runner.iter}: the run that is resumed was interrupted '
                'before the evaluation finished'
            )
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Record the step of an evaluation during training."""

        def write() -> None:
            with atomic_write(Path(runner.work_dir) / FILE) as part:
                part.write_text(str(runner.iter))

        if runner._train_loop is not None:
            main_process.share(write, 'writing of the last evaluation')


def _is_due(loop: BaseLoop) -> bool:
    """Return whether mmengine's training loop evaluates at its current position, above 0."""
    loop._decide_current_val_interval()
    by_step = isinstance(loop, IterBasedTrainLoop)
    if not by_step and loop.iter != loop.epoch * len(loop.dataloader):
        return False  # within an epoch, which began after the evaluation
    at, end = (loop.iter, loop.max_iters) if by_step else (loop.epoch, loop.max_epochs)
    return at >= max(loop.val_begin, 1) and (at % loop.val_interval == 0 or at == end)
