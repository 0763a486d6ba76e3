"""States of schedulers that weights-only loading reads."""

from mmengine.optim import _ParamScheduler

whole_state = _ParamScheduler.state_dict


def state_of_data(self: _ParamScheduler) -> dict:
    """Return mmengine's state without functions, such as OneCycleLR's way of annealing.

    A checkpoint with a function in it is refused, and a scheduler keeps its own functions.
    """
    return {key: value for key, value in whole_state(self).items() if not callable(value)}


def apply() -> None:
    """Replace `state_dict` of mmengine's schedulers."""
    _ParamScheduler.state_dict = state_of_data
