"""Hook that seeds every training step."""

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from lomar.datasets.replay import seed_everything


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Make a step's randomness a function of (seed, rank, iteration).

    Windows, masks and drop path of any step can so be replayed, and a resumed run draws what the
    uninterrupted one would have drawn.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Seed every generator that a step may draw from."""
        seed = (runner.seed, get_rank(), runner.iter)
        seed_everything(seed)
        if torch.cuda.is_available():
            torch.cuda.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
