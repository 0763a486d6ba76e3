"""Hook that logs model, data, batch and schedule before training."""

import re
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.optim.scheduler import LinearParamScheduler
from mmengine.registry import HOOKS
from torch import nn

from lomar.engine.loops import has_ended
from lomar.engine.schedule import Length, rates
from lomar.utils import dicts_in, type_name, unwrapped

CROPS = 'LoadRandomResizedCrop', 'LoadWindows', 'RandomResizedCrop'  # whose scale is a side
# A schedule of many more epochs than its name says was made for a larger dataset.
MANY = 10


@HOOKS.register_module()
class ModelSummaryHook(Hook):
    """Hook that logs a summary of model, windows, data, batch, schedule and optimizer."""

    priority = 'LOW'

    @master_only
    def before_train(self, runner) -> None:
        """Log the summary, unless a resumed training has ended."""
        if has_ended(runner.train_loop):
            return
        lines = [*summary(runner), f'results    {Path(runner.work_dir).resolve()}']
        runner.logger.info('\n  '.join(['Training:', *lines]))
        for note in notes(runner):
            runner.logger.warning(note)


def summary(runner) -> list[str]:
    """Return the lines of the summary of a training: model, data, batch, schedule and rate."""
    model, loader = unwrapped(runner.model), runner.train_dataloader
    epochs = round(_epochs(runner), 2)
    batch, gpus = loader.batch_sampler.batch_size, get_world_size()
    accumulation = runner.optim_wrapper._accumulative_counts
    lines = [model_line(model)]
    for w in getattr(model, 'samplers', ()):
        grid = model.backbone.grid(model.backbone.img_size)
        lines.append(
            f'windows    {w.number} of {w.size} x {w.size} patches in a grid of {grid[0]} x '
            f"{grid[1]}, {w.num_masked} of {w.size**2} masked, sampling='{w.sampling}', "
            f"masking='{w.masking}'"
        )
    return [
        *lines,
        f'data       {len(loader.dataset)} images, {len(loader)} steps per epoch',
        f'batch      {gpus} process(es) x {batch} x accumulation {accumulation} = '
        f'{gpus * batch * accumulation}',
        f'schedule   {epochs if epochs < 1000 else round(epochs):.6g} epochs = '
        f'{runner.max_iters} steps, {_warm_up(runner)}',
        *_rates(runner),
    ]


def model_line(model: nn.Module) -> str:
    """Return the line with the type and the parameters of a model."""
    sizes = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    parts = ', '.join(f'{name} {size / 1e6:.2f} M' for name, size in sizes.items() if size)
    every = sum(p.numel() for p in model.parameters())
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return (
        f'model      {type(model).__name__}, {every / 1e6:.2f} M parameters ({parts}), '
        f'{"all" if trainable == every else f"{trainable / 1e6:.2f} M"} trainable'
    )


def notes(runner) -> list[str]:
    """Return notes on settings that are valid, but probably not meant."""
    return [*_size_notes(runner.cfg), *_length_notes(runner)]


def _size_notes(cfg: Config) -> list[str]:
    """Return a note if the training images have another side than `backbone.img_size`."""
    side = ((cfg.get('model') or {}).get('backbone') or {}).get('img_size')
    scales = {
        step['scale']
        for step in dicts_in(cfg.get('train_dataloader'))
        if type_name(step) in CROPS and isinstance(step.get('scale'), int)
    }
    return [
        f'model.backbone.img_size is {side}, but the training images have {scale} px: set scale of '
        f'the loader in train_dataloader to {side}, or img_size to {scale}'
        for scale in scales
        if isinstance(side, int) and side != scale
    ]


def _length_notes(runner) -> list[str]:
    """Return a note if the iterations of the config are far more epochs than its name says."""
    found = re.search(r'-(\d+)e_', Path(runner.cfg.filename or '').name)
    length, epochs = Length.of(runner.train_loop), _epochs(runner)
    if length.epochs is not None or epochs <= MANY * (said := int(found[1]) if found else 100):
        return []
    name = f'The config is named for {said} epochs' if found else f'{said} epochs are usual'
    return [
        f'train_cfg.max_iters={length.steps} is {epochs:.0f} epochs of the '
        f'{len(runner.train_dataloader.dataset)} images. {name}: --epochs {said} sets the whole '
        'schedule for your images'
    ]


def _epochs(runner) -> float:
    """Return the number of epochs; batches continue across epochs in a loop over iterations."""
    length, loader = Length.of(runner.train_loop), runner.train_dataloader
    if length.epochs is not None:
        return length.epochs
    return length.steps * loader.batch_sampler.batch_size * get_world_size() / len(loader.dataset)


def _warm_up(runner) -> str:
    length = Length.of(runner.train_loop)
    steps = max(
        (
            (each.end - each.begin) * (length.epoch_steps if each.by_epoch else 1)
            for each in runner.param_schedulers or ()
            if isinstance(each, LinearParamScheduler)
            and each.param_name == 'lr'
            and each.start_factor < each.end_factor
        ),
        default=0,
    )
    share = steps * _epochs(runner) / length.steps if steps else 0
    return f'warm-up {share:.3g} epochs = {steps} steps' if steps else 'no warm-up'


def _rates(runner) -> list[str]:
    """Return the lines of the optimizer and of the rate of the group with the highest rate."""
    groups, length = runner.optim_wrapper.optimizer.param_groups, Length.of(runner.train_loop)
    # Without a schedule there is no initial rate.
    initial = [group.get('initial_lr', group['lr']) for group in groups]
    place = initial.index(max(initial))
    lines = [
        f'optimizer  {type(runner.optim_wrapper.optimizer).__name__}, lr {initial[place]:.3g} '
        f'({type(runner.optim_wrapper).__name__})'
    ]
    last = length.steps - 1
    steps = (0, last // 2, last)
    found = rates(runner.param_schedulers or (), groups[place], place, length, steps)
    if found is None:
        return [*lines, 'rate       changes with the metrics']
    names = ('at the first step', f'at step {steps[1] + 1}', 'at the last step')
    values = [f'{found[step]:.4g} {name}' for step, name in zip(steps, names, strict=True)]
    line = f'rate       {", ".join(values)}'
    if (lowest := min(initial)) < (highest := initial[place]):
        line += f' (other parameter groups: at least {lowest / highest:.2g} times these)'
    return [*lines, line]
