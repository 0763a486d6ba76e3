"""Several processes without a GPU; mmengine gives every process a CUDA device."""

import mmengine.dist.utils as mmengine_dist
import torch
from mmengine.model import MMDistributedDataParallel

init_on_gpus = mmengine_dist._init_dist_pytorch
wrap_on_gpu = MMDistributedDataParallel.__init__


def init_dist_pytorch(backend: str, *args, **kwargs) -> None:
    """mmengine's start of a torchrun process; gloo where there is no GPU."""
    if torch.cuda.is_available():
        init_on_gpus(backend, *args, **kwargs)
    else:
        kwargs.pop('init_backend', None)
        torch.distributed.init_process_group(backend='gloo', **kwargs)


def wrap(self, module: torch.nn.Module, *args, **kwargs) -> None:
    """mmengine's wrapper for distributed training, which names a GPU, for modules on a CPU."""
    if not torch.cuda.is_available():
        kwargs.pop('device_ids', None)
    wrap_on_gpu(self, module, *args, **kwargs)


def apply() -> None:
    """Put both in mmengine's place."""
    mmengine_dist._init_dist_pytorch = init_dist_pytorch
    MMDistributedDataParallel.__init__ = wrap
