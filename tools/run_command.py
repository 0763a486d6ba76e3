"""How tools/train.py and tools/test.py reach the `lomar` command of this checkout."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(command: str) -> None:
    """Run a `lomar` command, in .venv if this interpreter has no packages."""
    if find_spec('torch') is None:
        python = ROOT / '.venv/bin/python'
        if not python.exists():
            sys.exit(
                f'tools/{command}.py: {sys.executable} has no PyTorch, and there is no .venv; run '
                'make install, or activate an environment that has the package'
            )
        os.execv(python, [str(python), *sys.argv])
    sys.path.insert(0, str(ROOT))
    from lomar.cli import main

    sys.exit(main([command, *sys.argv[1:]]))
