"""Targets besides pixels: what masked patches are reconstructed as."""

from lomar.targets.frozen import Frozen
from lomar.targets.hog import HOGTarget
from lomar.targets.teacher import TeacherTarget
from lomar.targets.tokenizer import PatchTokenizer, Tokenizer
from lomar.targets.tokens import TokenTarget

__all__ = ['Frozen', 'HOGTarget', 'PatchTokenizer', 'TeacherTarget', 'TokenTarget', 'Tokenizer']
