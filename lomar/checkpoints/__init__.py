"""Reading and renaming checkpoints."""

from lomar.checkpoints.files import load_file
from lomar.checkpoints.official import from_official
from lomar.checkpoints.transfer import Report, TransferError, transfer_backbone
from lomar.checkpoints.unwrap import unwrap

__all__ = [
    'Report',
    'TransferError',
    'from_official',
    'load_file',
    'transfer_backbone',
    'unwrap',
]
