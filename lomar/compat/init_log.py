"""mmengine logs four lines for every parameter when a model is initialised."""

from mmengine.model import BaseModule


def apply() -> None:
    """Leave that list out of the log; `ModelSummaryHook` says in a few lines what is trained."""
    BaseModule._dump_init_info = lambda self: None
