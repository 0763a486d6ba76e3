"""Schedules of `param_scheduler` for the length of a training: shares, contradictions, rates.

`begin`, `end`, `T_max` and `milestones` may be shares of the training, such as '1/20'. A scheduler
without `end` ends with the training, so that `train_cfg` alone sets the length of a schedule.
"""

import copy
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

from mmengine.optim import scheduler as kinds
from mmengine.optim.scheduler.momentum_scheduler import MomentumSchedulerMixin
from mmengine.registry import PARAM_SCHEDULERS
from mmengine.runner import BaseLoop, IterBasedTrainLoop

from lomar.utils import check_number

SHARE = re.compile(r'\d+/0*[1-9]\d*')
ANNEALING = (  # change a value until their `end`
    kinds.CosineAnnealingParamScheduler,
    kinds.CosineRestartParamScheduler,
    kinds.OneCycleParamScheduler,
    kinds.PolyParamScheduler,
)
PERIODS = ('T_max', 'total_steps', 'periods')  # their sum has to be `end` - `begin`
DROPS = ('milestones', 'step_size')  # counted from `begin`


@dataclass(frozen=True)
class Length:
    """Length of a training.

    Attributes:
        steps: number of steps.
        epochs: number of epochs; None if the loop counts iterations.
        epoch_steps: number of steps per epoch.
    """

    steps: int
    epochs: int | None
    epoch_steps: int

    @classmethod
    def of(cls, loop: BaseLoop) -> 'Length':
        """Return the length of a training loop."""
        epochs = None if isinstance(loop, IterBasedTrainLoop) else loop.max_epochs
        return cls(loop.max_iters, epochs, max(len(loop.dataloader), 1))

    def __str__(self) -> str:
        if self.epochs is None:
            return f'train_cfg.max_iters={self.steps}'
        return f'train_cfg.max_epochs={self.epochs}, {self.steps} steps'


def resolve_schedule(schedulers: dict | Sequence[Any], length: Length) -> list[Any]:
    """Return the schedulers of a config with numbers for their shares, in steps where possible.

    A linear change of less than two steps becomes one step at the final factor, because mmengine's
    would keep the first factor for the rest of the training.

    Raises:
        ValueError: a scheduler does not fit the length of the training.
    """
    found = [schedulers] if isinstance(schedulers, dict) else list(schedulers)
    resolved = [
        _resolve(f'param_scheduler.{i}', each, length) if isinstance(each, dict) else each
        for i, each in enumerate(found)
    ]
    _check_last_steps(resolved, length)
    return resolved


def _resolve(place: str, config: dict, length: Length) -> dict:
    entry = {key: value for key, value in config.items() if value is not None}
    kind = _kind(place, entry)
    if counts_validations(entry):
        return entry
    by_epoch, convert = entry.get('by_epoch', True), entry.get('convert_to_iter_based', False)
    if by_epoch and length.epochs is None:
        raise ValueError(
            f'{place} ({entry["type"]}) counts epochs, and train_cfg counts iterations; allowed: '
            "by_epoch=False, with numbers of iterations or shares of the training such as '1/20'"
        )
    if convert and not by_epoch:
        raise ValueError(f'{place} has convert_to_iter_based=True; allowed with by_epoch=True only')
    _check_values(place, entry)
    unit, total = 1, length.epochs if by_epoch and length.epochs else length.steps
    if convert and kind.__module__.startswith('mmengine.'):  # others may have more to convert
        unit, total = length.epoch_steps, length.steps
        del entry['convert_to_iter_based']
        entry['by_epoch'] = False
    for key in ('begin', 'end', *PERIODS, *DROPS):
        if key in entry:
            if key in ('begin', 'end', 'T_max') and isinstance(entry[key], list | tuple):
                raise ValueError(f'{place}.{key} is {entry[key]!r}; allowed: a number or a share')
            entry[key] = _number(f'{place}.{key}', entry[key], total, unit)
    if isinstance(entry.get('milestones'), list):  # a share of few steps may be none
        given = zip(entry['milestones'], config['milestones'], strict=True)
        entry['milestones'] = [drop for drop, share in given if drop or not isinstance(share, str)]
    entry = dict(begin=0, end=total) | entry
    if issubclass(kind, kinds.LinearParamScheduler) and _duration(entry) < 2:
        if entry.get('by_epoch', True):
            raise ValueError(
                f'{place} ({entry["type"]}) lasts less than two epochs and changes the '
                'rate once per epoch; allowed: convert_to_iter_based=True'
            )
        begin, factor = entry['begin'], entry.get('end_factor', 1.0)
        return entry | dict(end=begin + 1, start_factor=factor)
    _check(place, entry, config, total, length)
    constant = issubclass(kind, kinds.ConstantParamScheduler) and entry.get('factor', 0) != 1
    if constant and _duration(entry) < 2 and entry['end'] < total:
        raise ValueError(f'{place} (ConstantLR) has one step, and never ends; allowed: 2 or more')
    return entry


def _kind(place: str, entry: dict) -> type:
    kind = entry.get('type')
    found = PARAM_SCHEDULERS.get(kind) if isinstance(kind, str) else kind
    if not isinstance(found, type):
        raise ValueError(f'{place}.type is {kind!r}, which is not a registered scheduler')
    return found


def counts_validations(entry: dict) -> bool:
    """Return whether the numbers of a scheduler's config are numbers of validations."""
    return issubclass(_kind('param_scheduler', entry), kinds.ReduceOnPlateauParamScheduler)


def target(entry: Any) -> str | None:
    """Return the setting of the optimizer that a scheduler or its config changes, mostly 'lr'."""
    if not isinstance(entry, dict):
        return getattr(entry, 'param_name', None)
    kind = _kind('param_scheduler', entry)
    usual = 'momentum' if issubclass(kind, MomentumSchedulerMixin) else 'lr'
    return entry.get('param_name', usual)


def _number(key: str, value: Any, total: int, unit: int) -> Any:
    """Return numbers for values that are shares of `total`, or numbers of `unit`."""
    if isinstance(value, list | tuple):
        return [_number(key, each, total, unit) for each in value]
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
        return value if unit == 1 else math.floor(value * unit)
    if isinstance(value, str) and SHARE.fullmatch(value) and Fraction(value) <= 1:
        return math.floor(Fraction(value) * total)
    raise ValueError(
        f'{key} is {value!r}; allowed: a number of 0 or more, or a share of the training up to '
        "'1/1', such as '1/20'"
    )


def _duration(entry: dict) -> int:
    """Return how often a scheduler sets its value."""
    return math.ceil(entry['end']) - math.ceil(entry['begin'])


def _check(place: str, entry: dict, config: dict, total: int, length: Length) -> None:
    """Raise a ValueError unless the numbers of a scheduler fit its duration and the training's."""
    unit = 'epochs' if entry.get('by_epoch', True) else 'steps'
    begin, end = entry['begin'], entry['end']
    lasts = f'it lasts from {begin:g} to {end:g} {unit} ({length})'
    if not begin < end <= total:
        key = 'end' if end > total else 'begin'
        raise ValueError(
            f'{place}.{key} is {config.get(key)}, and {lasts}; allowed: begin below end, and end '
            f'at most {total} {unit}. Without end and T_max it follows the training'
        )
    for key in PERIODS:
        value = entry.get(key, end - begin)
        if (sum(value) if isinstance(value, list) else value) != end - begin:
            raise ValueError(
                f'{place}.{key} is {config[key]}, but {lasts}; allowed: no {key}, or '
                'the whole length'
            )
    for key in DROPS:
        value = entry.get(key, [])
        drops = value if isinstance(value, list) else [value]
        if any(not 0 < drop < end - begin for drop in drops):
            raise ValueError(
                f'{place}.{key} is {config[key]}, but {lasts}; allowed: smaller numbers, or shares '
                "of the training such as '8/9'"
            )


def _check_values(place: str, entry: dict) -> None:
    """Raise a ValueError if a factor or a lowest rate is no number, or would make it negative."""
    for key in ('eta_min', 'eta_min_ratio', 'eta_max', 'gamma', 'power'):
        check_number(f'{place}.{key}', entry.get(key, 0))
    for key in ('start_factor', 'factor'):
        value = entry.get(key, 1)
        if not isinstance(value, int | float) or not 0 < value <= 1:  # mmengine divides by it
            raise ValueError(f'{place}.{key} is {value!r}; allowed: above 0 and at most 1')


def _check_last_steps(entries: list[Any], length: Length) -> None:
    """Raise a ValueError if a value is annealed, and stays as it is before the training ends."""
    ends: dict[str | None, list[tuple[int, int, bool]]] = {}
    for i, entry in enumerate(entries):
        if isinstance(entry, dict) and 'end' in entry:
            unit = length.epoch_steps if entry.get('by_epoch', True) else 1
            last = (int(entry['end'] * unit), i, issubclass(_kind('', entry), ANNEALING))
            ends.setdefault(target(entry), []).append(last)
    for end, i, anneals in map(max, ends.values()):
        if anneals and end < length.steps:
            raise ValueError(
                f'param_scheduler.{i} ends at step {end}, and the training at step {length.steps} '
                f'({length}); allowed: no end and no T_max, so that it follows the training'
            )


def check_lowest_rates(schedulers: Sequence[Any], rates: Collection[float]) -> None:
    """Raise a ValueError if annealing would raise the learning rate of a parameter group."""
    lowest = min((rate for rate in rates if rate > 0), default=0)
    for i, each in enumerate(schedulers):
        if not isinstance(each, dict) or target(each) != 'lr':
            continue
        ratio = each.get('eta_min_ratio') or 0
        least = ratio * lowest if ratio else each.get('eta_min') or 0
        if least > lowest > 0:
            key = 'eta_min_ratio' if ratio else 'eta_min'
            raise ValueError(
                f'param_scheduler.{i}.{key} is {each[key]:.4g}, a rate of {least:.3g}, but a '
                f'parameter group starts at {lowest:.3g} (optim_wrapper.optimizer.lr, layer '
                'decay, --auto-scale-lr); allowed: a lower value'
            )


def rates(
    schedulers: Sequence[Any], group: dict, place: int, length: Length, steps: Collection[int]
) -> dict[int, float] | None:
    """Return the learning rate of a parameter group at `steps`; None if it depends on metrics.

    Copies of the schedulers make all steps of the training.

    Args:
        schedulers: built schedulers.
        group: the parameter group with its initial rate.
        place: index of the group in the optimizer.
    """
    if any(getattr(each, 'need_val_args', False) for each in schedulers):
        return None
    group = {key: value for key, value in group.items() if key != 'params'}
    group['lr'] = group.get('initial_lr', group['lr'])
    optimizer = SimpleNamespace(param_groups=[group], step=SimpleNamespace(_with_counter=True))
    optimizer._global_step = 0
    copies = [copy.copy(each) for each in schedulers if each.param_name == 'lr']
    for each in copies:
        each.optimizer, each.base_values = optimizer, [each.base_values[place]]
    found = {}
    for step in range(max(steps) + 1):
        for each in copies:
            now, rest = divmod(step, length.epoch_steps) if each.by_epoch else (step, 0)
            if not rest and each.begin <= now < each.end:
                each._global_step, each.last_step = now - 1, now - math.ceil(each.begin) - 1
                each.step()
        if step in steps:
            found[step] = group['lr']
    return found
