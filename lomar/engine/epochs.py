"""`--epochs`: the schedule of a config for a number of epochs of the user's images."""

import math
from collections.abc import Container
from fractions import Fraction

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.registry import DATASETS, init_default_scope

from lomar.compat.dist import main_process
from lomar.engine.schedule import DROPS, PERIODS, counts_validations


def set_epochs(cfg: Config, epochs: int, given: Container[str] = ()) -> None:
    """Set the length of the training, and scale its schedule and its intervals in proportion.

    These are numbers of `param_scheduler`, the intervals of evaluation and of checkpoints, and the
    begin of evaluations. The intervals are at least one epoch. In a loop that counts iterations,
    the number of iterations follows from the training images, the batch size and the number of
    processes.

    Args:
        given: keys that the command line sets; they are kept.
    """
    loop, by_epoch = cfg.train_cfg, 'max_iters' not in cfg.train_cfg
    key = 'max_epochs' if by_epoch else 'max_iters'
    if not loop.get(key):
        raise ValueError('--epochs: train_cfg has neither max_epochs nor max_iters; set one')
    steps = Fraction(1) if by_epoch else _epoch_steps(cfg)
    before, after = loop[key], max(round(steps * epochs), 1)
    cfg.param_scheduler = _as_shares(cfg.get('param_scheduler'), before, by_epoch)

    def scaled(interval: int) -> int:
        """Return an interval in proportion; 0 and less mean "never" and are kept."""
        least = max(round(interval * Fraction(after, before)), math.ceil(steps))
        return min(least, after) if interval > 0 else interval

    loop[key] = after
    if 'train_cfg.val_interval' not in given:
        loop.val_interval = scaled(loop.get('val_interval', 1 if by_epoch else 1000))
    if 'train_cfg.val_begin' not in given and loop.get('val_begin'):
        loop.val_begin = min(round(loop.val_begin * Fraction(after, before)), after)
    if 'train_cfg.dynamic_intervals' not in given and loop.get('dynamic_intervals'):
        loop.dynamic_intervals = [
            (min(round(begin * Fraction(after, before)), after), scaled(interval))
            for begin, interval in loop.dynamic_intervals
        ]
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint')
    kept = 'default_hooks.checkpoint.interval' in given
    if checkpoint and not kept and checkpoint.get('by_epoch', True) == by_epoch:
        checkpoint.interval = scaled(checkpoint.get('interval', -1))


def _epoch_steps(cfg: Config) -> Fraction:
    """Return the steps per epoch, a fraction, because batches continue across epochs."""
    loader = cfg.train_dataloader
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    images = main_process.share(lambda: len(DATASETS.build(loader.dataset)), 'training images')
    return Fraction(images, loader.batch_size * get_world_size())


def _as_shares(schedulers: dict | list | None, length: int, by_epoch: bool) -> list | None:
    """Return the schedulers with shares for numbers in the unit of the training's length."""
    if schedulers is None:
        return None
    found = [schedulers] if isinstance(schedulers, dict) else schedulers
    return [
        {key: _share(value, length) if key in KEYS else value for key, value in each.items()}
        if each.get('by_epoch', True) == by_epoch and not counts_validations(each)
        else each
        for each in found
    ]


KEYS = ('begin', 'end', *PERIODS, *DROPS)


def _share(value, length: int):
    if isinstance(value, list | tuple):
        return [_share(each, length) for each in value]
    if isinstance(value, int | float) and 0 < value <= length:
        share = Fraction(value) / length
        return f'{share.numerator}/{share.denominator}'
    return value
