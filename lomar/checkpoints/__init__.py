"""Reading and renaming checkpoints."""

from lomar.checkpoints.files import load_file
from lomar.checkpoints.official import from_official

__all__ = ['from_official', 'load_file']
