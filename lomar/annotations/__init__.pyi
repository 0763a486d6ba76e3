from .formats import FORMATS as FORMATS
from .formats import import_annotations as import_annotations
from .object_statistics import ObjectStatistics as ObjectStatistics
from .object_statistics import object_statistics as object_statistics
from .source import ImportReport as ImportReport
from .source import SourceError as SourceError
from .split import split_coco as split_coco
from .split import split_table as split_table
