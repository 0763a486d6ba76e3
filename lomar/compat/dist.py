"""Distributed training without a GPU, and a separate timeout for work of the main process.

mmengine assigns a CUDA device to every process. While the main process computes a metric, the other
processes of mmengine wait in an NCCL collective, which times out after 10 minutes. mmengine
collects the results of an evaluation by files in `.dist_test` in the current folder, which may be
read-only, or another folder on each machine.
"""

import atexit
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import chain, zip_longest
from typing import TypeVar

import mmengine.dist.utils as mmengine_dist
import mmengine.evaluator.metric as mmengine_metric
import torch
from mmengine.dist import broadcast_object_list
from mmengine.model import MMDistributedDataParallel
from torch import distributed

T = TypeVar('T')
init_on_gpus = mmengine_dist._init_dist_pytorch
wrap_on_gpu = MMDistributedDataParallel.__init__
collect_by_files = mmengine_metric.collect_results


def init_dist_pytorch(backend: str, *args, **kwargs) -> None:
    """Initialize a torchrun process as mmengine does, with gloo if there is no GPU."""
    if torch.cuda.is_available():
        init_on_gpus(backend, *args, **kwargs)
    else:
        kwargs.pop('init_backend', None)
        distributed.init_process_group(backend='gloo', **kwargs)


def wrap(self, module: torch.nn.Module, *args, **kwargs) -> None:
    """Initialize mmengine's DDP wrapper; without a GPU, drop the argument `device_ids`."""
    if not torch.cuda.is_available():
        kwargs.pop('device_ids', None)
    wrap_on_gpu(self, module, *args, **kwargs)


class MainProcess:
    """Work of the main process for which the others wait: annotations, probes, metrics.

    Waiting uses a separate gloo process group on the CPU. Its timeout is independent of the
    timeout of the training's collectives.
    """

    def __init__(self):
        self.group, self.minutes = None, 0.0

    def allow(self, minutes: float) -> None:
        """Set the timeout; all processes call this together, after their initialization.

        Raises:
            ConnectionError: gloo cannot connect the processes.
        """
        if self.group is None:  # threads of a group that are alive at exit abort the process
            atexit.register(self.close)
        elif minutes == self.minutes:
            return
        self.minutes = minutes
        try:
            self.group = distributed.new_group(backend='gloo', timeout=timedelta(minutes=minutes))
        except RuntimeError as error:
            raise ConnectionError(
                'gloo, which connects the processes on the CPU, failed. If the name of a machine '
                'is the address 127.0.1.1 in its /etc/hosts, set the environment variable '
                f'GLOO_SOCKET_IFNAME to the network interface between the machines: {error}'
            ) from error

    def close(self) -> None:
        """End the process group, if PyTorch has not ended it already."""
        if self.group is not None and distributed.is_initialized():
            distributed.destroy_process_group(self.group)
        self.group = None

    @property
    def alone(self) -> bool:
        """Return whether there are no other processes."""
        return self.group is None or not distributed.is_initialized()

    def wait(self, what: str) -> None:
        """Return when all processes have called this method.

        Args:
            what: the work of the main process, for the error message.

        Raises:
            RuntimeError: the main process exceeded the timeout or has ended.
        """
        if self.alone:
            return
        with self._naming(what):
            distributed.barrier(self.group)

    @contextmanager
    def _naming(self, what: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RuntimeError(
                f'{what}: some processes did not finish within env_cfg.main_process_minutes='
                f'{self.minutes:g}; raise the limit if the main process was still running: {error}'
            ) from error

    def share(self, work: Callable[[], T], what: str) -> T:
        """Call `work` in the main process; return its result, or raise its error, in all processes.

        Without a process group, every process calls `work`. `what` and errors are those of `wait`.
        """
        if self.alone:
            return work()
        outcome: list = [None, None]  # result, error
        if distributed.get_rank() == 0:
            try:
                outcome[0] = work()
            except Exception as error:
                outcome[1] = error
        self.wait(what)
        distributed.broadcast_object_list(outcome, src=0, group=self.group)
        result, failure = outcome
        if failure is not None:
            raise failure
        return result

    def gather(self, item: T, what: str) -> list[T]:
        """Return the items of all processes. `what` and errors are those of `wait`."""
        if self.alone:
            return [item]
        self.wait(what)
        items: list = [None] * distributed.get_world_size(self.group)
        distributed.all_gather_object(items, item, group=self.group)
        return items

    def gather_here(self, item: T, what: str) -> list[T]:
        """Return the items of all processes in the main process, [] in the others; see `gather`."""
        if self.alone:
            return [item]
        self.wait(what)
        main = distributed.get_rank() == 0
        items: list | None = [None] * distributed.get_world_size(self.group) if main else None
        distributed.gather_object(item, items, group=self.group)
        return items or []

    def largest_later(self, number: int, what: str) -> Callable[[], int]:
        """Start to reduce the numbers of all processes; return the function that waits for the max.

        `what` is that of `wait`.
        """
        tensor = torch.tensor([number])
        work = distributed.all_reduce(
            tensor, distributed.ReduceOp.MAX, group=self.group, async_op=True
        )

        def result() -> int:
            with self._naming(what):
                work.wait()
            return int(tensor)

        return result


main_process = MainProcess()


def broadcast_metrics(metrics: list, *args, **kwargs) -> None:
    """Broadcast metrics after the main process has computed them."""
    main_process.wait('evaluation')
    broadcast_object_list(metrics, *args, **kwargs)


def collect_results(
    results: list, size: int, device: str = 'cpu', tmpdir: str | None = None
) -> list | None:
    """Return the results of all samples in their order in the main process, None in the others.

    Args:
        results: of every n-th sample, for n processes.
        size: number of samples; samplers repeat the first ones.
        device, tmpdir: `collect_device` and `collect_dir` of the metric; with other values than
            these, mmengine collects the results.
    """
    if main_process.alone or device != 'cpu' or tmpdir is not None:
        return collect_by_files(results, size, device, tmpdir)
    parts = main_process.gather_here(results, 'collecting the results of an evaluation')
    if not parts:
        return None
    ordered = chain.from_iterable(zip_longest(*parts))
    return [one for one in ordered if one is not None][:size]


def apply() -> None:
    """Replace mmengine's functions with these."""
    mmengine_dist._init_dist_pytorch = init_dist_pytorch
    MMDistributedDataParallel.__init__ = wrap
    mmengine_metric.broadcast_object_list = broadcast_metrics
    mmengine_metric.collect_results = collect_results
