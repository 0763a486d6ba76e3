"""Adaptations of OpenMMLab's last releases to current PyTorch.

`lomar.register` and the packages whose modules import mmdet or mmpretrain call `apply`. Further
calls have no effect.
"""

import warnings
from importlib import import_module
from importlib.util import find_spec

NEEDED = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet')
SEGMENTATION = ('mmseg', 'ftfy', 'regex', 'prettytable')  # mmseg declares only a part of them
# The last one imports mmpretrain, which must find the others applied.
ADAPTATIONS = (
    *('amp', 'clock', 'dist', 'fileio', 'log', 'mmcv_ops', 'deformable_attention', 'packages'),
    *('schedulers', 'multimodal'),
)


def missing() -> list[str]:
    """Return the names of the OpenMMLab packages that are not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def advice() -> str:
    """Return the command that installs the missing packages of OpenMMLab."""
    return (
        f"lomar needs {', '.join(missing())}: pip install 'lomar-openmmlab[openmmlab]' for the "
        'last upstream releases, or lomar-openmmlab[onedl] for the maintained forks'
    )


def check_segmentation() -> None:
    """Raise an ImportError that names the command to install, if mmseg cannot be imported."""
    if lacking := [name for name in SEGMENTATION if find_spec(name) is None]:
        raise ImportError(
            f"segmentation needs {', '.join(lacking)}: pip install 'lomar-openmmlab[segment]', or "
            'lomar-openmmlab[segment-onedl] for the maintained forks'
        )


def apply() -> None:
    """Adapt OpenMMLab in place.

    Raises:
        ImportError: a package of OpenMMLab is missing; the message names the command to install.
    """
    if missing():
        raise ImportError(advice())
    # mmcv-lite warns about missing compiled operators even if nothing uses them.
    warnings.filterwarnings('ignore', message='Fail to import ``MultiScaleDeformableAttention')
    # PyTorch 2.14 deprecates an argument that mmengine passes; its replacement is too new.
    warnings.filterwarnings('ignore', message='`broadcast_buffers` is deprecated')
    # Of mmseg, about its own code, and about a default that its published models were trained with.
    warnings.filterwarnings('ignore', message='``build_loss`` would be deprecated')
    warnings.filterwarnings('ignore', message='Default ``avg_non_ignore`` is False')
    for name in ADAPTATIONS:
        import_module(f'lomar.compat.{name}').apply()
