"""Samplers that make augmentation a function of seed, epoch and position, so it can be replayed."""

import random
from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS


class Draw(int):
    """Index of a sample that also has the seed of the sample's augmentation.

    The index that `RepeatDataset` or `ConcatDataset` computes for its dataset has the same seed.
    `ClassBalancedDataset` passes a plain index on; `readable.samples`
    therefore seeds before the call.
    """

    seed: tuple[int, ...]

    def __new__(cls, index: int, seed: tuple[int, ...] = ()):
        draw = super().__new__(cls, index)
        draw.seed = seed
        return draw

    def __mod__(self, length: int) -> 'Draw':
        return Draw(int(self) % length, self.seed)

    def __sub__(self, start: int) -> 'Draw':
        return Draw(int(self) - start, self.seed)


@DATA_SAMPLERS.register_module()
class ReplaySampler(DefaultSampler):
    """`DefaultSampler` whose indices have a seed each.

    A dataset that calls `seed_everything(index.seed)` augments a sample independently of the
    process and of earlier samples. A resumed run therefore equals an uninterrupted one.

    Attributes:
        start: number of indices of this process to skip at the beginning.
    """

    start = 0

    def draws(self) -> Iterator[Draw]:
        """Yield all indices of an epoch, with their seeds."""
        for i, index in enumerate(super().__iter__()):
            yield Draw(index, (self.seed, self.epoch, i * self.world_size + self.rank))

    def __iter__(self) -> Iterator[Draw]:
        return islice(self.draws(), self.start, None)


@DATA_SAMPLERS.register_module()
class InfiniteReplaySampler(ReplaySampler):
    """`ReplaySampler` for runs counted in iterations: an endless sequence of epochs."""

    def __iter__(self) -> Iterator[Draw]:
        self.epoch, skip = divmod(self.start, self.num_samples)
        while True:
            yield from islice(self.draws(), skip, None)
            skip, self.epoch = 0, self.epoch + 1


def seed_everything(seed: tuple[int, ...]) -> None:
    """Seed Python's, NumPy's and PyTorch's CPU generators from non-negative integers."""
    words = np.random.SeedSequence(seed).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(words[1])
    torch.default_generator.manual_seed(int(words[2]))
