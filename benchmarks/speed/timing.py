"""Timing of contenders in turns, so that other load on the machine affects all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.profiler import ProfilerActivity, profile
from tqdm import tqdm

PRODUCTS = ('aten::mm', 'aten::addmm', 'aten::bmm', 'aten::baddbmm', 'aten::_addmm_activation')


class DoesNotFit(MemoryError):
    """Error of a step that needs more memory than allowed."""


@dataclass(frozen=True)
class Spread:
    """Median, minimum and maximum of repeated measurements."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float]) -> 'Spread':
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


class Stopwatch:
    """Timer of functions in thread CPU seconds, without the time of nested timed functions."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self.within = [0.0]

    def timed(self, function: Callable, name: str) -> Callable:
        """Return the function with timing; several functions may share a name."""

        def watched(*args, **kwargs):
            self.within.append(0.0)
            start = time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                seconds = time.thread_time() - start
                own = seconds - self.within.pop()
                self.within[-1] += seconds
                self.seconds[name] = self.seconds.get(name, 0.0) + own

        return watched

    def read(self) -> dict[str, float]:
        """Return seconds by name since the last call."""
        seconds, self.seconds = self.seconds, {}
        return seconds


def synchronise() -> None:
    """Synchronize with the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def interleave(
    steps: Mapping[str, Callable[[], object]], repeats: int, warmup: int, title: str = ''
) -> dict[str, Spread]:
    """Return seconds of each step, over `repeats` rounds after `warmup` rounds.

    In every round each step runs once. Each round starts with another step.
    """
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for turn in tqdm(range(warmup + repeats), desc=title, unit='round', leave=False):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            synchronise()
            start = time.perf_counter()
            steps[name]()
            synchronise()
            if turn >= warmup:
                seconds[name].append(time.perf_counter() - start)
    return {name: Spread.of(taken) for name, taken in seconds.items()}


def saved_bytes(forward: Callable[[], object], parameters, limit: float) -> int:
    """Return the bytes of activation memory saved for the backward pass, without parameters.

    Raises:
        DoesNotFit: the bytes exceed `limit`; raised in the forward pass, before memory runs out.
    """
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
    kept: dict[int, int] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            if sum(kept.values()) > limit:
                raise DoesNotFit(f'more than {limit / 2**30:.1f} GiB of activations')
        return tensor.detach()  # with its history it would form a reference cycle

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    del result  # until here, no pointer may be reused
    return sum(kept.values())


def free_memory() -> int:
    """Return the free bytes of GPU memory, or of main memory without a GPU."""
    if torch.cuda.is_available():
        # PyTorch's cache of freed memory is not free for the driver, but PyTorch can reuse it.
        cached = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
        return torch.cuda.mem_get_info()[0] + cached
    with open('/proc/meminfo') as lines:
        (available,) = (line for line in lines if line.startswith('MemAvailable'))
    return int(available.split()[1]) * 1024


def share_of_products(step: Callable[[], object]) -> float | None:
    """Return the fraction of a step's CPU time in matrix products, 0 to 1; None with a GPU."""
    if torch.cuda.is_available():
        return None
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        step()
    events = recorded.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    return sum(event.self_cpu_time_total for event in events if event.key in PRODUCTS) / total


def matrix_rate(dtype: torch.dtype, side: int | None = None) -> float:
    """Return the highest FLOP/s of several products of two large random square matrices.

    Args:
        side: number of rows and columns; None for 8192 on a GPU, 4096 on a CPU.
    """
    cuda = torch.cuda.is_available()
    side = side or (8192 if cuda else 4096)
    # A product takes 1.4 ms on a large GPU, which needs a longer warm-up to leave its idle clock.
    repeats, warmup = (50, 100) if cuda else (5, 2)
    a, b = torch.randn(2, side, side, device='cuda' if cuda else 'cpu').to(dtype)
    seconds = interleave({'': lambda: a @ b}, repeats, warmup, title=f'matrix rate {dtype}')['']
    return 2 * side**3 / seconds.least
