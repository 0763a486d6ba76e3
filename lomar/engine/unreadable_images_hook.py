"""Hook that logs unreadable images and stops a run with too many."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from lomar.compat.dist import main_process
from lomar.datasets.readable import data_samples

# Processes exchange their lists after each of the first 50 steps, then after every 50 steps.
INTERVAL = 50


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Hook that logs every unreadable image once and stops a run with too many.

    Several processes tell each other the images that they could not read.

    Args:
        max_share: largest allowed fraction of unreadable images in the dataset, 0 to 1.
    """

    def __init__(self, max_share: float = 0.05):
        if not isinstance(max_share, int | float) or not 0 <= max_share <= 1:
            raise ValueError(f'UnreadableImagesHook.max_share is {max_share!r}; allowed: 0 to 1')
        self.max_share = max_share
        self.seen: set[str] = set()  # by any process
        self.found: dict[str, str] = {}  # by this process since the last exchange: reason by path

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Log the unreadable images of the batch; raise an OSError if there are too many."""
        for sample in data_samples(data_batch):
            self.found |= sample.get('unreadable', {})
        if main_process.alone or runner.iter < INTERVAL or runner.iter % INTERVAL == 0:
            self._exchange(runner)
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
        self._exchange(runner)
        if self.seen:
            runner.logger.warning(f'{len(self.seen)} unreadable images were replaced by others')

    def _exchange(self, runner) -> None:
        """Log what all processes have found, once per image."""
        for found in main_process.gather(self.found, 'counting unreadable images'):
            for path, reason in found.items():
                if path not in self.seen:
                    self.seen.add(path)
                    runner.logger.warning(f'Unreadable image replaced: {path} ({reason})')
        self.found = {}
