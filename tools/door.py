"""How tools/train.py and tools/test.py reach the `lomar` command of this checkout."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def run(command: str) -> None:
    """Run a `lomar` command, in .venv if this interpreter has no packages."""
    python = ROOT / '.venv/bin/python'
    if find_spec('torch') is None and python.exists():
        os.execv(python, [str(python), *sys.argv])
    sys.path.insert(0, str(ROOT))
    from lomar.cli import main

    sys.exit(main([command, *sys.argv[1:]]))
