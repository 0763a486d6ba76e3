"""mmpretrain without its multimodal models, which recent releases of transformers break.

If transformers is installed, `mmpretrain.models` imports them. They import names that transformers
no longer has, and then mmpretrain cannot be imported. This package uses none of these models.
"""

from mmpretrain.utils import dependency


def apply() -> None:
    """Make mmpretrain register placeholders, as it does if transformers is not installed."""
    dependency.WITH_MULTIMODAL = False
