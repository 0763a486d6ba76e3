from . import checkpoints as checkpoints
from . import classification as classification
from . import datasets as datasets
from . import detection as detection
from . import engine as engine
from . import models as models
from . import segmentation as segmentation
from . import targets as targets
from . import visualization as visualization
from .classifier import Classes as Classes
from .classifier import Classifier as Classifier
from .detections import Detections as Detections
from .detector import Detector as Detector
from .encoder import Encoder as Encoder
from .large_images import LargeDetections as LargeDetections
from .large_images import detect_tiles as detect_tiles
from .segmentor import Segmentation as Segmentation
from .segmentor import Segmentor as Segmentor

__version__: str
