"""Iteration-based training loop that resumes without loading earlier images."""

from itertools import chain, repeat

from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop


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
