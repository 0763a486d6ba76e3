"""Hook that logs unreadable images and stops a run with too many."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Hook that logs every unreadable image once and stops a run with too many.

    Args:
        max_share: largest allowed fraction of unreadable images in the dataset, 0 to 1.
    """

    def __init__(self, max_share: float = 0.05):
        if not 0 <= max_share <= 1:
            raise ValueError(f'UnreadableImagesHook.max_share is {max_share}; allowed: 0 to 1')
        self.max_share = max_share
        self.seen: set[str] = set()

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Log the unreadable images of the batch; raise an OSError if there are too many."""
        for sample in (data_batch or {}).get('data_samples') or ():
            for path, reason in sample.get('unreadable', {}).items():
                if path not in self.seen:
                    self.seen.add(path)
                    runner.logger.warning(f'Unreadable image replaced: {path} ({reason})')
        total = len(runner.train_dataloader.dataset)
        if len(self.seen) > self.max_share * total:
            raise OSError(
                f'{len(self.seen)} of {total} images are unreadable, more than the share of '
                f'{self.max_share} that UnreadableImagesHook.max_share allows; they are named '
                'above. Raise the share and go on with --resume, or repair or remove them and go '
                'on with --resume --accept-changes.'
            )

    def after_train(self, runner) -> None:
        """Log the number of unreadable images."""
        if self.seen:
            runner.logger.warning(f'{len(self.seen)} unreadable images were replaced by others')
