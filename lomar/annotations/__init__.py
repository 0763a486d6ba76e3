"""Annotations in other formats: their import as COCO files, splits, and statistics of objects."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
