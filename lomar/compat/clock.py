"""Durations that do not depend on the clock of the machine, which may be set back."""

import time
from types import SimpleNamespace

from mmengine.hooks import iter_timer_hook


def apply() -> None:
    """Make mmengine's timer measure steps with a clock that only goes forward."""
    iter_timer_hook.time = SimpleNamespace(time=time.monotonic)
