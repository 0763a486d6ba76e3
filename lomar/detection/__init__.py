"""Object detection with mmdet: COCO files, masks, augmentation, heads and AP."""

import lazy_loader

from lomar import compat

compat.apply()  # required before mmdet is imported

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
