"""Training loops: one that resumes without loading earlier images; the end of a loop."""

from itertools import chain, repeat

from mmengine.registry import LOOPS
from mmengine.runner import BaseLoop, EpochBasedTrainLoop, IterBasedTrainLoop


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


def has_ended(loop: BaseLoop) -> bool:
    """Return whether a training loop has no step left."""
    if isinstance(loop, EpochBasedTrainLoop):
        return loop.epoch >= loop.max_epochs
    return loop.iter >= loop.max_iters
