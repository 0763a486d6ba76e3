"""Image classification: labelled folders and lists, augmentation, accuracy."""

from lomar.classification.folders import LabelledImages, check_folders, read_labelled, use_folders
from lomar.classification.heads import Float32LinearClsHead
from lomar.classification.metric import ClassAccuracy
from lomar.classification.transforms import TimmRandAugment

__all__ = [
    'ClassAccuracy',
    'Float32LinearClsHead',
    'LabelledImages',
    'TimmRandAugment',
    'check_folders',
    'read_labelled',
    'use_folders',
]
