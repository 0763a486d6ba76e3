"""Opening, unwrapping, renaming, transfer and conversion of checkpoints."""

from lomar.checkpoints.files import load_file
from lomar.checkpoints.names import from_official, rename
from lomar.checkpoints.transfer import Report, TransferError, transfer_backbone
from lomar.checkpoints.unwrap import unwrap

__all__ = [
    'Report',
    'TransferError',
    'from_official',
    'load_file',
    'rename',
    'transfer_backbone',
    'unwrap',
]
