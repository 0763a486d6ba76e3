"""Read image files, load them in training pipelines, and make the embedded dataset."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
