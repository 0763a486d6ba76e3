"""Hook that keeps a complete checkpoint on disk at all times."""

from pathlib import Path

from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS

from lomar.compat.dist import main_process
from lomar.datasets.fingerprint import dataset_fingerprint
from lomar.engine.run_record import plain

# Key in the message hub for the metric and the data of the best score. mmengine logs values whose
# key begins with 'val'.
EVALUATION = 'evaluation'


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """`CheckpointHook` that always keeps a complete checkpoint on disk.

    mmengine removes the oldest checkpoint before it writes the next one. With `max_keep_ckpts=1`
    there would be no checkpoint for a short time.

    In a resumed run, the best score counts as long as metrics and validation data are the same. A
    run in a new work dir keeps the best checkpoint in the old one, which mmengine removes with the
    next best checkpoint.
    """

    def __init__(self, *args, max_keep_ckpts: int = -1, **kwargs):
        if max_keep_ckpts == 1:
            raise ValueError(
                'default_hooks.checkpoint.max_keep_ckpts is 1: a run killed while it saves would '
                'have nothing to resume from; allowed: 2 or more, or -1 to keep all'
            )
        try:
            super().__init__(*args, max_keep_ckpts=max_keep_ckpts, **kwargs)
        except (AssertionError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f'default_hooks.checkpoint: {error}') from error

    def before_train(self, runner) -> None:
        """Find the checkpoints of the work dir, and whether the best score still counts."""
        if self.save_best and runner.val_loop is not None:
            self._compare_validation(runner)
        super().before_train(runner)
        if path := getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = self._in_work_dir(path)
        for key, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[key] = self._in_work_dir(path)

    def _compare_validation(self, runner) -> None:
        """Forget a best score that was measured with another metric or on other data."""
        hub, dataset = runner.message_hub, runner.val_dataloader.dataset
        data = main_process.share(lambda: dataset_fingerprint(dataset), 'validation data')
        now = repr((data, plain(runner.cfg.get('val_evaluator')), self.save_best))
        before = hub.runtime_info.get(EVALUATION, now)
        hub.update_info(EVALUATION, now)
        if before != now:
            runner.logger.warning(
                'The metrics or the validation data have changed: the best score in the checkpoint '
                'does not count'
            )
            for key in [key for key in hub.runtime_info if key.startswith('best_')]:
                hub.pop_info(key)

    def _in_work_dir(self, path: str | None) -> str | None:
        """Return the file with the name of `path` in the work dir, which may have moved."""
        own = Path(self.out_dir) / Path(path or '').name
        return str(own) if own.is_file() else None
