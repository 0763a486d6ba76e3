"""Registration of all classes of this package in MMEngine's root registries.

Importing this module adapts OpenMMLab to today's PyTorch and registers the classes. A config
names it: `custom_imports = dict(imports=['lomar.register'])`.
"""

from importlib import import_module
from pkgutil import iter_modules

from lomar import compat

PACKAGES = (
    'models',
    'targets',
    'datasets',
    'checkpoints',
    'engine',
    'visualization',
    'classification',
    'detection',
    'segmentation',
)

compat.apply()  # before mmcv, mmdet and mmpretrain are imported
for package in PACKAGES:
    for module in iter_modules(import_module(f'lomar.{package}').__path__):
        import_module(f'lomar.{package}.{module.name}')
