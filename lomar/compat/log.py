"""Lines that OpenMMLab logs or prints and that tell a user nothing."""

import logging

import mmengine.logging
from mmengine.logging import MMLogger, print_log

# mmengine's list of hooks, a line at every epoch's end, deprecations inside mmengine itself, what
# it does not do to layers that no model here has, and the lane detector of the onedl forks, which
# misses a compiled operator as soon as it is imported.
NOISE = (
    'Hooks will be executed',
    'Exp name: ',
    '"FileClient" will be',
    '"HardDiskBackend" is',
    'Line NMS is not compiled',
    'Distributed training is not used',
)


def worth_reading(self: MMLogger, record: logging.LogRecord) -> bool | logging.LogRecord:
    """Drop `NOISE`, then filter as any logger does."""
    return not str(record.msg).startswith(NOISE) and logging.Logger.filter(self, record)


def print_from_info(msg, logger=None, level: int = logging.INFO) -> None:
    """`print_log`, which without a logger prints whatever the level: the forks' debug messages."""
    if logger is not None or level >= logging.INFO:
        print_log(msg, logger, level)


def apply() -> None:
    """Put both in mmengine's place."""
    MMLogger.filter = worth_reading
    mmengine.logging.print_log = print_from_info
