"""Hook that seeds every training step."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from lomar.datasets.replay import seed_everything


@HOOKS.register_module()
class StepSeedHook(Hook):
    """Hook that seeds the random generators before each step by (seed, rank, iteration).

    So windows, masks and drop path of any step can be replayed. A resumed run draws the same values
    as an uninterrupted run.
    """

    priority = 'VERY_HIGH'

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Seed all random generators that a step may use."""
        seed_step((runner.seed, get_rank(), runner.iter))


def seed_step(seed: Sequence[int]) -> None:
    """Seed all random generators of a step, also those of GPUs, by (seed, rank, iteration)."""
    seed_everything(tuple(seed))
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(int(np.random.SeedSequence(seed).generate_state(1)[0]))
