"""Everything that makes the last OpenMMLab releases run well on today's PyTorch.

Nothing outside this folder knows what is adapted. `lomar.register` and the packages whose modules
import mmdet or mmpretrain call `apply`; further calls change nothing.
"""

import warnings
from importlib import import_module
from importlib.util import find_spec

NEEDED = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet')


def missing() -> list[str]:
    """Return the names of the OpenMMLab packages that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def apply() -> None:
    """Adapt OpenMMLab in place.

    Raises:
        ImportError: OpenMMLab is not installed; the message is one line that says what to install.
    """
    if absent := missing():
        raise ImportError(
            f"lomar needs {', '.join(absent)}: pip install 'lomar-openmmlab[openmmlab]' for the "
            'last upstream releases, or lomar-openmmlab[onedl] for the maintained forks'
        )
    # mmcv-lite warns that it lacks compiled operators whether or not anything asks for them.
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention')
    for name in ('amp', 'dist', 'fileio', 'init_log', 'log', 'mmcv_ops', 'packages'):
        import_module(f'lomar.compat.{name}').apply()
