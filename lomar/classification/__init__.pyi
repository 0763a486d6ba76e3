from .accuracy import ClassAccuracy as ClassAccuracy
from .config_folders import check_folders as check_folders
from .config_folders import use_folders as use_folders
from .heads import Float32LinearClsHead as Float32LinearClsHead
from .inputs import LabelledDataPreprocessor as LabelledDataPreprocessor
from .labelled_images import LabelledImages as LabelledImages
from .labelled_images import read_labelled as read_labelled
from .rand_augment import TimmRandAugment as TimmRandAugment
