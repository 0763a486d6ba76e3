"""Hook that logs throughput, data waiting time and memory."""

import resource

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Hook that logs images per second of all processes, the share of data waiting, and memory."""

    priority = 'BELOW_NORMAL'  # after mmengine's timer, before its logger

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Add the values to the message hub, which all logs read."""
        hub = runner.message_hub
        if 'train/time' in hub.log_scalars:  # of mmengine's timer, default_hooks.timer
            step = hub.get_scalar('train/time').mean(10)
            waiting = hub.get_scalar('train/data_time').mean(10)
            images = runner.train_dataloader.batch_sampler.batch_size * get_world_size()
            hub.update_scalar('train/images_per_second', images / step)
            hub.update_scalar('train/data_wait', waiting / step)
        if not torch.cuda.is_available():  # mmengine logs the peak of a GPU by itself
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            hub.update_scalar('train/memory', int(peak))
