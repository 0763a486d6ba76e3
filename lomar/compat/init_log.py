"""Removal of mmengine's initialization log, which has four lines per parameter."""

from mmengine.model import BaseModule


def apply() -> None:
    """Disable the log; `ModelSummaryHook` logs a summary of the model instead."""
    BaseModule._dump_init_info = lambda self: None
