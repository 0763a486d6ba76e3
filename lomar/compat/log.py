"""Filter for log lines of OpenMMLab that have no information for users."""

import logging

import mmengine.logging
from mmengine.logging import MMLogger, print_log
from mmengine.model import BaseModule

# mmengine's list of hooks, a line at the end of every epoch, deprecations inside of mmengine, and a
# lane detector of the onedl forks, which warns about a missing operator when it is imported.
NOISE = (
    'Hooks will be executed',
    'Exp name: ',
    '"FileClient" will be',
    '"HardDiskBackend" is',
    'Line NMS is not compiled',
    'Distributed training is not used',
)


def worth_reading(self: MMLogger, record: logging.LogRecord) -> bool | logging.LogRecord:
    """Return False for lines in `NOISE`, otherwise the result of the logger's own filter."""
    return not str(record.msg).startswith(NOISE) and logging.Logger.filter(self, record)


def print_from_info(msg, logger=None, level: int = logging.INFO) -> None:
    """Call `print_log`, but without a logger only for level INFO and above."""
    if logger is not None or level >= logging.INFO:
        print_log(msg, logger, level)


def apply() -> None:
    """Replace mmengine's log filter and `print_log`, and disable its log of each parameter.

    `ModelSummaryHook` logs a summary of the model instead of four lines per parameter.
    """
    BaseModule._dump_init_info = lambda self: None
    MMLogger.filter = worth_reading
    mmengine.logging.print_log = print_from_info
