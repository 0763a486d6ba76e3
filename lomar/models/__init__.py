"""The LoMaR model: windows, relative positions, backbone, algorithm and head."""

from lomar.models import rpe
from lomar.models.feature_pyramid import SimpleFeaturePyramid
from lomar.models.heads import WindowPixelHead
from lomar.models.lomar import LoMaR
from lomar.models.vit import LoMaRViT, RPEViT

__all__ = ['LoMaR', 'LoMaRViT', 'RPEViT', 'SimpleFeaturePyramid', 'WindowPixelHead', 'rpe']
