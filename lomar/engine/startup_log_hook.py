"""Hook that logs model, data, batch and schedule before training."""

from pathlib import Path

from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from lomar.utils import unwrapped


@HOOKS.register_module()
class ModelSummaryHook(Hook):
    """Hook that logs a summary of model, windows, data, batch, schedule and optimizer."""

    priority = 'LOW'

    @master_only
    def before_train(self, runner) -> None:
        """Log the summary."""
        runner.logger.info('\n'.join(['Training:', *self.lines(runner)]))

    @staticmethod
    def lines(runner) -> list[str]:
        """Return the lines of the summary."""
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
            f'data       {len(loader.dataset)} images, {len(loader)} steps per epoch',
            f'batch      {gpus} process(es) x {batch} x accumulation {accumulation} = '
            f'{gpus * batch * accumulation}',
            f'schedule   {epochs:.4g} epochs = {runner.max_iters} steps',
            # Without a schedule there is no initial rate.
            f'optimizer  {type(optimizer).__name__}, lr {group.get("initial_lr", group["lr"]):.3g} '
            f'({type(runner.optim_wrapper).__name__})',
            f'results    {Path(runner.work_dir).resolve()}',
        ]
        return [f'  {line}' for line in lines]
