from . import checkpoints as checkpoints
from . import classification as classification
from . import datasets as datasets
from . import detection as detection
from . import engine as engine
from . import export as export
from . import models as models
from . import targets as targets
from . import visualization as visualization
from .encoder import Encoder as Encoder

__version__: str
