"""Time of a detector's parts outside the backbone."""

import lomar.register  # noqa: F401
