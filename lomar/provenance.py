"""Versions, commit and hardware, for `lomar --version` and for the records of results."""

import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    *('torch', 'torchvision', 'timm', 'mmengine', 'mmcv', 'mmcv-lite', 'mmdet', 'mmpretrain'),
    *('numpy', 'pillow', 'opencv-python', 'simplejpeg'),
    *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmpretrain'),
    *('mmsegmentation', 'onedl-mmsegmentation'),
)


def installed() -> dict[str, str]:
    """Return the versions of Python and of each installed package by its name."""
    found = dict(python=platform.python_version())
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def provenance(**machine: float | str) -> dict:
    """Return date, commit, versions and hardware for the record of a result.

    Args:
        machine: more about the machine, such as its load average, or about its use.
    """
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(
        date=now(),
        commit=_commit(),
        versions=installed(),
        hardware=dict(cpu=_cpu(), gpu=gpu, threads=torch.get_num_threads()) | machine,
    )


def now() -> str:
    """Return the time in UTC, in seconds."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


def _commit() -> str | None:
    """Return the commit of the package's checkout; None without a checkout or without git."""
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=12']
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def _cpu() -> str:
    lines = Path('/proc/cpuinfo').read_text().splitlines()
    names = (line.split(':')[1].strip() for line in lines if line.startswith('model name'))
    return next(names, platform.processor())
