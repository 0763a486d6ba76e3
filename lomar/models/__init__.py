"""The LoMaR model: windows, relative positions, backbone, algorithm, head and targets."""

from lomar.models import rpe, targets
from lomar.models.feature_pyramid import SimpleFeaturePyramid
from lomar.models.heads import WindowHead, WindowPixelHead
from lomar.models.inputs import PretrainDataPreprocessor
from lomar.models.lomar import LoMaR
from lomar.models.precision import Float32Conv2d, Float32Linear
from lomar.models.vit import LoMaRViT, RPEViT

__all__ = [
    'Float32Conv2d',
    'Float32Linear',
    'LoMaR',
    'LoMaRViT',
    'PretrainDataPreprocessor',
    'RPEViT',
    'SimpleFeaturePyramid',
    'WindowHead',
    'WindowPixelHead',
    'rpe',
    'targets',
]
