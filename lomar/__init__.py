"""LoMaR (Local Masked Reconstruction, arXiv 2206.00790) for OpenMMLab.

Importing this package registers its modules in MMEngine's root registries.
"""

from lomar import compat

compat.apply()  # before anything of OpenMMLab is used

from lomar import checkpoints, datasets, engine, models, targets, visualization  # noqa: E402
from lomar.encoder import Encoder  # noqa: E402

__all__ = ['Encoder', 'checkpoints', 'datasets', 'engine', 'models', 'targets', 'visualization']
__version__ = '0.1.0'
