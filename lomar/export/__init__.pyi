from .exportable import Exportable as Exportable
from .exportable import exportable as exportable
from .files import Difference as Difference
from .files import export_file as export_file
