from .folders import LabelledImages as LabelledImages
from .folders import check_folders as check_folders
from .folders import read_labelled as read_labelled
from .folders import use_folders as use_folders
from .heads import Float32LinearClsHead as Float32LinearClsHead
from .metric import ClassAccuracy as ClassAccuracy
from .preprocessor import LabelledDataPreprocessor as LabelledDataPreprocessor
from .transforms import TimmRandAugment as TimmRandAugment
