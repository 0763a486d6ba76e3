"""Targets besides pixels: what masked patches are reconstructed as."""

from lomar.targets.frozen import Frozen
from lomar.targets.hog import HOGTarget
from lomar.targets.teacher import TeacherTarget

__all__ = ['Frozen', 'HOGTarget', 'TeacherTarget']
