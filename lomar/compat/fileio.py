"""Atomic writes of checkpoint files; mmengine writes directly to the final file name."""

from pathlib import Path

from mmengine.fileio import LocalBackend

from lomar.utils import atomic_write


def atomic_put(self: LocalBackend, obj: bytes, filepath: str | Path) -> None:
    """Write bytes to `filepath` atomically."""
    with atomic_write(filepath) as part:
        part.write_bytes(obj)


def apply() -> None:
    """Replace mmengine's function that writes bytes to local files."""
    LocalBackend.put = atomic_put
