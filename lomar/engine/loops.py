"""Training loops that resume at any step without loading earlier images."""

from itertools import chain, repeat

from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import BatchSampler, DataLoader

from lomar.datasets.replay import ReplaySampler


@LOOPS.register_module()
class ReplayIterLoop(IterBasedTrainLoop):
    """`IterBasedTrainLoop` over an `InfiniteReplaySampler`.

    A resumed run sets the position of the sampler. mmengine's loop loads and discards all earlier
    images, which may take hours.
    """

    def run(self):
        """Train from the current iteration on."""
        self.dataloader.sampler.start = self._iter * self.dataloader.batch_sampler.batch_size
        self.dataloader_iterator = chain(repeat(None, self._iter), self.dataloader)
        return super().run()


@LOOPS.register_module()
class ReplayEpochLoop(EpochBasedTrainLoop):
    """`EpochBasedTrainLoop` that can begin within an epoch, see `starts_anywhere`."""

    def run_epoch(self) -> None:
        """Train for the rest of the current epoch."""
        done = self._iter - self._epoch * len(self.dataloader)
        if done == 0:
            super().run_epoch()
            return
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        sampler = self.dataloader.sampler
        sampler.start = done * self.dataloader.batch_sampler.batch_size
        for index, batch in enumerate(self.dataloader, done):
            sampler.start = 0  # of the next epoch
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1


def starts_anywhere(loader: DataLoader) -> bool:
    """Return whether the batches of an epoch can be loaded from any step on."""
    plain = type(loader.batch_sampler) is BatchSampler
    return plain and isinstance(loader.sampler, ReplaySampler)


def has_ended(loop: BaseLoop) -> bool:
    """Return whether a training loop has no step left."""
    if isinstance(loop, EpochBasedTrainLoop):
        return loop.epoch >= loop.max_epochs
    return loop.iter >= loop.max_iters
