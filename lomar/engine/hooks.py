"""What happens beside the training step: seeds, the log, checkpoints, a watch over bad files."""

import resource
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import get_rank, get_world_size, master_only
from mmengine.hooks import CheckpointHook, Hook
from mmengine.registry import HOOKS

from lomar.datasets.replay import seed_everything
from lomar.utils import unwrapped


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


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """`CheckpointHook` that always has a whole checkpoint on the disk.

    mmengine removes the oldest one before it writes the next, so `max_keep_ckpts=1` has a moment
    without any.

    Raises:
        ValueError: `max_keep_ckpts` is 1.
    """

    def __init__(self, *args, max_keep_ckpts: int = -1, **kwargs):
        if max_keep_ckpts == 1:
            raise ValueError(
                'default_hooks.checkpoint.max_keep_ckpts is 1: a run killed while it saves would '
                'have nothing to resume from; allowed: 2 or more, or -1 to keep all'
            )
        super().__init__(*args, max_keep_ckpts=max_keep_ckpts, **kwargs)


@HOOKS.register_module()
class ModelSummaryHook(Hook):
    """Say in a few lines what is about to be trained, on what, for how long."""

    priority = 'LOW'

    @master_only
    def before_train(self, runner) -> None:
        """Log the summary."""
        runner.logger.info('\n'.join(['Training:', *self.lines(runner)]))

    @staticmethod
    def lines(runner) -> list[str]:
        """The summary's lines."""
        model, loader = unwrapped(runner.model), runner.train_dataloader
        trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
        parts = ', '.join(
            f'{name} {sum(p.numel() for p in part.parameters()) / 1e6:.2f} M'
            for name, part in model.named_children()
            if any(True for _ in part.parameters())
        )
        batch, gpus = loader.batch_sampler.batch_size, get_world_size()
        epochs = runner.max_iters / max(len(loader), 1)  # 0: a batch is more than an epoch
        accumulation = runner.optim_wrapper._accumulative_counts
        optimizer = runner.optim_wrapper.optimizer
        group = max(optimizer.param_groups, key=lambda group: group['lr'])
        lines = [
            f'model      {type(model).__name__}, {trainable / 1e6:.2f} M trainable parameters '
            f'({parts})'
        ]
        for w in getattr(model, 'samplers', ()):
            grid = model.backbone.grid(model.backbone.img_size)
            lines.append(
                f'windows    {w.number} of {w.size} x {w.size} patches in a grid of {grid[0]} x '
                f"{grid[1]}, {w.num_masked} of {w.size**2} masked, sampling='{w.sampling}', "
                f"masking='{w.masking}'"
            )
        lines += [
            f'data       {len(loader.dataset)} images, {len(loader)} steps an epoch',
            f'batch      {gpus} process(es) x {batch} x accumulation {accumulation} = '
            f'{gpus * batch * accumulation}',
            f'schedule   {epochs:.4g} epochs = {runner.max_iters} steps',
            # Without a schedule there is no initial rate.
            f'optimizer  {type(optimizer).__name__}, lr {group.get("initial_lr", group["lr"]):.3g} '
            f'({type(runner.optim_wrapper).__name__})',
            f'results    {Path(runner.work_dir).resolve()}',
        ]
        return [f'  {line}' for line in lines]


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Log images per second over all processes, the share of time waiting for data, and memory."""

    priority = 'BELOW_NORMAL'  # after mmengine's timer, before its logger

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Add the figures to the message hub, from which every log is fed."""
        hub = runner.message_hub
        step = hub.get_scalar('train/time').mean(10)
        waiting = hub.get_scalar('train/data_time').mean(10)
        images = runner.train_dataloader.batch_sampler.batch_size * get_world_size()
        hub.update_scalar('train/images_per_second', images / step)
        hub.update_scalar('train/data_wait', waiting / step)
        if not torch.cuda.is_available():  # mmengine logs the peak of a GPU by itself
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            hub.update_scalar('train/memory', int(peak))


@HOOKS.register_module()
class UnreadableImagesHook(Hook):
    """Name every unreadable image once and stop when there are too many.

    Args:
        max_share: unreadable images over images in the dataset, 0 to 1.
    """

    def __init__(self, max_share: float = 0.05):
        if not 0 <= max_share <= 1:
            raise ValueError(f'UnreadableImagesHook.max_share is {max_share}; allowed: 0 to 1')
        self.max_share = max_share
        self.seen: set[str] = set()

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Look at what the dataset reports of this batch.

        Raises:
            OSError: too many unreadable images.
        """
        for sample in data_batch.get('data_samples') or ():
            for path, reason in sample.get('unreadable', {}).items():
                if path not in self.seen:
                    self.seen.add(path)
                    runner.logger.warning(f'Unreadable image replaced: {path} ({reason})')
        total = len(runner.train_dataloader.dataset)
        if len(self.seen) > self.max_share * total:
            raise OSError(
                f'{len(self.seen)} of {total} images are unreadable, more than the share of '
                f'{self.max_share} that UnreadableImagesHook.max_share allows; they are named '
                'above. Repair or remove them, or raise the share, then go on with --resume.'
            )

    def after_train(self, runner) -> None:
        """Say how many there were."""
        if self.seen:
            runner.logger.warning(f'{len(self.seen)} unreadable images were replaced by others')
