"""Everything that makes the last OpenMMLab releases run well on today's PyTorch.

Nothing outside this folder knows what had to be mended; `apply` is called once, by `import lomar`.
"""

import warnings
from importlib import import_module
from importlib.util import find_spec

NEEDED = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet')


def apply() -> None:
    """Mend OpenMMLab in place.

    Raises:
        ImportError: OpenMMLab is not installed; the message is one line that says what to install.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ImportError(
            f"lomar needs {', '.join(missing)}: pip install 'lomar-openmmlab[openmmlab]' for the "
            'last upstream releases, or lomar-openmmlab[onedl] for the maintained forks'
        )
    # mmengine 0.10 and mmcv 2.1 import pkg_resources, which warns about its own removal, and
    # mmcv-lite warns that it lacks compiled operators whether or not anything asks for them.
    warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention')
    for name in ('amp', 'dist', 'fileio', 'initialization', 'log', 'mmcv_ext'):
        import_module(f'lomar.compat.{name}').apply()
