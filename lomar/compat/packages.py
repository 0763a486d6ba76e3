"""Config inheritance from installed packages: `_base_ = 'mmdet::...'` and `'lomar::...'`.

mmengine 0.10 finds packages with pkg_resources, which setuptools no longer contains, and supports
only OpenMMLab's packages.
"""

import sys
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE

LOMAR = 'lomar'
resolve = Config._get_cfg_path


def is_installed(package: str) -> bool:
    """Return whether a distribution or a package of this name is installed."""
    try:
        distribution(package)
    except PackageNotFoundError:
        spec = find_spec(package)
        return spec is not None and spec.origin is not None
    return True


def get_installed_path(package: str) -> str:
    """Return the folder of a package by its name or its module's, 'mmsegmentation' or 'mmseg'."""
    modules = {name: module for module, name in MODULE2PACKAGE.items()}
    spec = find_spec(modules.get(package, package))
    if spec is None or spec.origin is None:
        raise PackageNotFoundError(package)
    return str(Path(spec.origin).parent)


def config_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
    """Return path and scope of a base config as mmengine does, without a scope for this package.

    mmengine writes the scope into each dict with a `type`. This package has no registries of its
    own.
    """
    path, scope = resolve(cfg_path, filename)
    return path, None if scope == LOMAR else scope


def apply() -> None:
    """Replace mmengine's functions wherever it imported them, and add this package."""
    MODULE2PACKAGE[LOMAR] = LOMAR
    Config._get_cfg_path = staticmethod(config_path)
    for name, module in list(sys.modules.items()):
        for function in (is_installed, get_installed_path):
            if name.startswith('mmengine.') and hasattr(module, function.__name__):
                setattr(module, function.__name__, function)
