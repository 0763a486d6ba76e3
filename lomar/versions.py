"""Versions of the packages that this package runs on."""

import platform
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    'torch',
    'torchvision',
    'timm',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmdet',
    'mmpretrain',
    'numpy',
    'pillow',
    'opencv-python',
    'simplejpeg',
)
FORKS = ('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmpretrain')


def installed() -> dict[str, str]:
    """Return the versions of Python and of each installed package by its name."""
    found = dict(python=platform.python_version())
    for name in (*PACKAGES, *FORKS):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
