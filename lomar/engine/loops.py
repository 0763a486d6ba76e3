"""A training loop counted in iterations that resumes at once."""

from itertools import chain, repeat

from mmengine.registry import LOOPS
from mmengine.runner import IterBasedTrainLoop


@LOOPS.register_module()
class ReplayIterLoop(IterBasedTrainLoop):
    """`IterBasedTrainLoop` over an `InfiniteReplaySampler`.

    A resumed run asks the sampler for the draws that come next; mmengine's loop loads all images up
    to there and throws them away, which takes hours late in a run.
    """

    def run(self):
        """Train from the current iteration on."""
        self.dataloader.sampler.start = self._iter * self.dataloader.batch_sampler.batch_size
        self.dataloader_iterator = chain(repeat(None, self._iter), self.dataloader)
        return super().run()
