"""Time of a detector's parts outside the backbone."""

import lomar  # noqa: F401  (registers)
