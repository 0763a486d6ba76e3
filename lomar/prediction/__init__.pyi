from .items import Item as Item
from .items import items as items
from .masks import Masks as Masks
from .pictures import Pictures as Pictures
from .result_files import ResultFiles as ResultFiles
from .sources import Source as Source
from .sources import find_sources as find_sources
