"""What touches mmdet; a config names this package in `custom_imports`.

Importing it takes seconds, which pretraining is spared.
"""

from lomar.detection.annotation_checks import AnnotationReport, check_coco, stop_on_errors
from lomar.detection.coco import class_names, normalised_coco, read_coco
from lomar.detection.coco_ap import CocoAP
from lomar.detection.config_files import check_config, use_files
from lomar.detection.dataset import CocoFiles
from lomar.detection.heads import Float32MaskHead, Float32RPNHead
from lomar.detection.inputs import ChannelsDetDataPreprocessor
from lomar.detection.instances import LoadInstances, MixedMasks
from lomar.detection.masks import LazyMasks, encode
from lomar.detection.polygons import Polygons
from lomar.detection.scale_jitter import AntialiasedResize, LargeScaleJitter
from lomar.detection.tta import BoxTTAModel

__all__ = [
    'AnnotationReport',
    'AntialiasedResize',
    'BoxTTAModel',
    'ChannelsDetDataPreprocessor',
    'CocoAP',
    'CocoFiles',
    'Float32MaskHead',
    'Float32RPNHead',
    'LargeScaleJitter',
    'LazyMasks',
    'LoadInstances',
    'MixedMasks',
    'Polygons',
    'check_coco',
    'check_config',
    'class_names',
    'encode',
    'normalised_coco',
    'read_coco',
    'stop_on_errors',
    'use_files',
]
