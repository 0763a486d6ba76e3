"""Image classification: labelled folders and lists, augmentation, accuracy."""

import lazy_loader

from lomar import compat

compat.apply()  # required before mmpretrain is imported

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
