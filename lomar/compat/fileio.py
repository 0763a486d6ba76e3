"""Files appear whole or not at all: mmengine writes checkpoints straight to their final name."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend


def atomic_put(self: LocalBackend, obj: bytes, filepath: str | Path) -> None:
    """Write to a temporary name beside `filepath`, flush to disk, rename."""
    path = Path(filepath)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
    try:
        with open(temporary, 'wb') as file:
            file.write(obj)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def apply() -> None:
    """Make every file that mmengine writes as bytes appear atomically."""
    LocalBackend.put = atomic_put
