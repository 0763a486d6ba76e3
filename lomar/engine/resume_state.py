"""State of a resumed run: position, optimizer and schedule."""

import warnings
from collections.abc import Mapping, Sequence

from mmengine.hooks import EarlyStoppingHook, EMAHook, RuntimeInfoHook
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper, _ParamScheduler
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from lomar.checkpoints.files import misfit_as_value_error, naming
from lomar.engine.loops import ReplayEpochLoop, has_ended, starts_anywhere
from lomar.engine.resume import FRESH, Resumed
from lomar.utils import unwrapped

MODULE = 'module.'  # prefix of names in wrapped models and averages


def restore(runner: Runner, resumed: Resumed, content: dict) -> None:
    """Restore weights, position, log, optimizer and schedule of a run.

    The schedule is that of the config: rates are those of an uninterrupted run with this config at
    the same position.

    Args:
        content: of the checkpoint.

    Raises:
        ValueError: model or optimizer of the config do not fit the checkpoint.
    """
    _load_weights(runner, resumed, content)
    loop, wrapper = runner.train_loop, runner.optim_wrapper
    per_epoch = len(loop.dataloader) if isinstance(loop, EpochBasedTrainLoop) else None
    within = isinstance(loop, ReplayEpochLoop) and starts_anywhere(loop.dataloader)
    loop._epoch, loop._iter = position(resumed, per_epoch, within)
    runner.message_hub.load_state_dict(content.get('message_hub') or {})
    for hook in runner.hooks:
        if isinstance(hook, RuntimeInfoHook):
            hook.before_run(runner)  # config and seed of this run, not of the checkpoint
        elif isinstance(hook, EarlyStoppingHook):
            _count_validations(hook, runner.message_hub)
    schedulers = runner.param_schedulers or []
    if any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
        # Rates depend on past metrics; `compare` has refused other settings.
        wrapper.load_state_dict(content['optimizer'])
        for scheduler, state in zip(schedulers, content['param_schedulers'], strict=True):
            scheduler.load_state_dict(state)
    else:
        old = (resumed.record or {}).get('parameters')
        names = parameter_names(wrapper, unwrapped(runner.model))
        load_optimizer(wrapper, content['optimizer'], old, names)
        advance(schedulers, loop.iter, per_epoch)
    _log_position(runner, resumed)


def _count_validations(hook: EarlyStoppingHook, hub: MessageHub) -> None:
    """Show the metrics of past validations to a hook, which stores neither best score nor count."""
    if past := hub.log_scalars.get(f'val/{hook.monitor}'):
        for score in past.data[0]:
            hook._check_stop_condition(float(score))


def position(
    resumed: Resumed, steps_per_epoch: int | None, within: bool = False
) -> tuple[int, int]:
    """Return the (epoch, step) at which a run goes on.

    A run counted in epochs goes on after the same number of epochs, and a run counted in steps
    after the same number of steps, also if an epoch has another number of steps than before. An
    epoch that the checkpoint has begun is repeated, unless the run can begin within it.
    Checkpoints have no gradients: steps whose gradients were not yet applied are repeated, too.

    Args:
        steps_per_epoch: None in a run counted in steps.
        within: whether the run can begin within an epoch that has as many steps as before.
    """
    epoch, step, record = resumed.meta['epoch'], resumed.meta['iter'], resumed.record
    if steps_per_epoch is None:
        return epoch, _last_update(step, record)
    if record and record['by_epoch']:
        # A checkpoint of the last step in an epoch was written before the epoch was counted.
        epoch = max(epoch, step // record['steps_per_epoch'])
        if within and record['steps_per_epoch'] == steps_per_epoch:
            step = _last_update(max(step, epoch * steps_per_epoch), record)
            return step // steps_per_epoch, step
    return epoch, epoch * steps_per_epoch


def _last_update(step: int, record: Mapping | None) -> int:
    """Return the step after which the weights were changed last, at or before a step."""
    if not record:
        return step
    loop, wrapper = (record['settings'][key] for key in ('train_cfg', 'optim_wrapper'))
    begun = step % wrapper['accumulative_counts']
    if not begun:
        return step
    by_epoch = record['by_epoch']
    end = loop['max_epochs'] * record['steps_per_epoch'] if by_epoch else loop['max_iters']
    return step if step == end else step - begun  # the last update may be one of fewer steps


def parameter_names(wrapper: OptimWrapper, model: nn.Module) -> list[str]:
    """Return the names of the optimized parameters in the order of the optimizer's state."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    parameters = [each for group in wrapper.optimizer.param_groups for each in group['params']]
    return [names.get(id(each), f'parameter {number}') for number, each in enumerate(parameters)]


def _load_weights(runner: Runner, resumed: Resumed, content: dict) -> None:
    """Load the weights; raise a ValueError if they are not exactly those of the model."""
    runner.call_hook('after_load_checkpoint', checkpoint=content)
    average = content.get('ema_state_dict')
    weights = content['state_dict']
    if average and not any(isinstance(hook, EMAHook) for hook in runner.hooks):
        # When EMAHook saves, it exchanges weights and average, and it would exchange them back.
        # The optimizer belongs to the weights.
        weights = {name: value for name, value in average.items() if name.startswith(MODULE)}
    weights = {name.removeprefix(MODULE): value for name, value in weights.items()}
    try:
        with naming(f'--resume: {resumed.file}'), misfit_as_value_error():
            unwrapped(runner.model).load_state_dict(weights)
    except ValueError as error:
        raise ValueError(f'{error}\n{FRESH}') from error


def load_optimizer(wrapper: OptimWrapper, saved: dict, old: list[str] | None, new: list) -> None:
    """Load the state of each parameter; rates and other settings remain those of the config.

    Args:
        saved: state dict of the wrapper.
        old, new: `parameter_names` of the checkpoint, None if unknown, and of this run.

    Raises:
        ValueError: the state belongs to another optimizer.
    """
    fresh = wrapper.state_dict()
    groups, before = fresh['param_groups'], saved['param_groups']
    state = saved['state']
    if old is None:
        _check_groups(before, groups)
    else:
        place = {name: number for number, name in enumerate(old)}
        pairs = [(number, place.get(name)) for number, name in enumerate(new)]
        state = {number: state[former] for number, former in pairs if former in state}
    scaler = {key: saved[key] for key in ('loss_scaler',) if key in saved and key in fresh}
    wrapper.load_state_dict({**fresh, **scaler, 'state': state})


def _check_groups(before: Sequence[dict], now: Sequence[dict]) -> None:
    """Raise a ValueError if parameter groups are those of another optimizer."""
    options = {key for key in before[0] if not key.startswith('initial_')} - {*now[0]}
    sizes, own = ([len(group['params']) for group in groups] for groups in (before, now))
    if options or sizes != own:
        found = f'the options {sorted(options)}' if options else f'groups of {sizes} parameters'
        raise ValueError(
            f'--resume: the optimizer of the checkpoint has {found}, optim_wrapper of the config '
            f'has {"not" if options else own}; allowed: the same optimizer; {FRESH}'
        )


def advance(schedulers: Sequence[_ParamScheduler], step: int, steps_per_epoch: int | None) -> None:
    """Set rates and new schedulers to those of a run that has made a number of steps.

    Args:
        steps_per_epoch: for schedulers by epoch; None in a run that is counted in steps.
    """
    with warnings.catch_warnings():  # PyTorch's habit: the optimizer steps first
        warnings.filterwarnings('ignore', message='Detected call of `scheduler.step')
        for number in range(1, step + 1):
            ends = steps_per_epoch is not None and number % steps_per_epoch == 0
            for by_epoch in (False, True)[: 1 + ends]:
                for scheduler in schedulers:
                    if scheduler.by_epoch is by_epoch:
                        scheduler.step()


def _log_position(runner: Runner, resumed: Resumed) -> None:
    """Log where the run goes on, or that there is nothing to train."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    place = f'epoch: {loop.epoch}, iter: {loop.iter}'
    end = f'epoch: {loop.max_epochs}, iter: {loop.max_iters}' if by_epoch else f'{loop.max_iters}'
    saved = resumed.meta['iter']
    also = f' (iter {saved} in the checkpoint)' if saved != loop.iter else ''
    runner.logger.info(f'resumed {place}{also}; the training ends at {end}')
    if has_ended(loop):
        runner.logger.warning(
            f'Nothing to train: {resumed.file} is at the end of the training. To train longer, use '
            '--epochs N and --accept-changes'
        )
