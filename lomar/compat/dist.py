"""Several processes without a GPU, and processes that wait for the main one.

mmengine gives every process a CUDA device. While the main process computes a metric, mmengine lets
the others wait in a collective operation of NCCL, which ends the run after 10 minutes.
"""

from datetime import timedelta

import mmengine.dist.utils as mmengine_dist
import mmengine.evaluator.metric as mmengine_metric
import torch
from mmengine.dist import broadcast_object_list
from mmengine.model import MMDistributedDataParallel
from torch import distributed

init_on_gpus = mmengine_dist._init_dist_pytorch
wrap_on_gpu = MMDistributedDataParallel.__init__


def init_dist_pytorch(backend: str, *args, **kwargs) -> None:
    """mmengine's start of a torchrun process; gloo where there is no GPU."""
    if torch.cuda.is_available():
        init_on_gpus(backend, *args, **kwargs)
    else:
        kwargs.pop('init_backend', None)
        distributed.init_process_group(backend='gloo', **kwargs)


def wrap(self, module: torch.nn.Module, *args, **kwargs) -> None:
    """mmengine's wrapper for distributed training, which names a GPU, for modules on a CPU."""
    if not torch.cuda.is_available():
        kwargs.pop('device_ids', None)
    wrap_on_gpu(self, module, *args, **kwargs)


class MainProcess:
    """The process that probes, draws and computes metrics, and for which the others wait.

    They wait in a process group of its own on the CPU (gloo), whose limit is independent of the one
    for collective operations of the training.
    """

    def __init__(self):
        self.group, self.minutes = None, 0.0

    def allow(self, minutes: float) -> None:
        """Set how long the others wait; all processes call it once, after the start."""
        self.minutes = minutes
        limit = timedelta(minutes=minutes)
        self.group = distributed.new_group(backend='gloo', timeout=limit)

    def wait(self, what: str) -> None:
        """Return when all processes have come here.

        Raises:
            RuntimeError: the main process took longer than allowed, or has ended.
        """
        if self.group is None or not distributed.is_initialized():
            return
        try:
            distributed.barrier(self.group)
        except RuntimeError as error:
            raise RuntimeError(
                f'{what}: the processes did not all finish within env_cfg.main_process_minutes='
                f'{self.minutes:g}; if the main process was still busy, allow more: {error}'
            ) from error


main_process = MainProcess()


def broadcast_metrics(metrics: list, *args, **kwargs) -> None:
    """`broadcast_object_list` of computed metrics, after the main process has computed them."""
    main_process.wait('evaluation')
    broadcast_object_list(metrics, *args, **kwargs)


def apply() -> None:
    """Put these in mmengine's place."""
    mmengine_dist._init_dist_pytorch = init_dist_pytorch
    MMDistributedDataParallel.__init__ = wrap
    mmengine_metric.broadcast_object_list = broadcast_metrics
