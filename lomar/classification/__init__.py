"""Image classification: labelled folders and lists, augmentation, accuracy."""

import lazy_loader

from lomar import compat

compat.apply()  # mmpretrain cannot be imported without it

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
