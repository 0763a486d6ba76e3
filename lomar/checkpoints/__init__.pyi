from .config_reader import stored_config as stored_config
from .files import load_file as load_file
from .names import from_official as from_official
from .names import rename as rename
from .transfer import Report as Report
from .transfer import TransferError as TransferError
from .transfer import transfer_backbone as transfer_backbone
from .unwrap import unwrap as unwrap
