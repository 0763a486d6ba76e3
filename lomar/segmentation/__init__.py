"""Semantic segmentation with mmseg: folders of masks, their checks, and IoU.

No module of this package imports mmseg, which is an optional dependency.
"""

import lazy_loader

from lomar import compat

compat.apply()  # required before mmcv is imported

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
