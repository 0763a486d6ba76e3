"""Checkpoint files are written atomically: mmengine writes straight to their final name."""

from pathlib import Path

from mmengine.fileio import LocalBackend

from lomar.utils import atomic_write


def atomic_put(self: LocalBackend, obj: bytes, filepath: str | Path) -> None:
    """Write bytes to `filepath` atomically."""
    with atomic_write(filepath) as part:
        part.write_bytes(obj)


def apply() -> None:
    """Make every file that mmengine writes as bytes appear atomically."""
    LocalBackend.put = atomic_put
