"""Targets besides pixels: what masked patches are reconstructed as."""

from lomar.targets.frozen import Frozen
from lomar.targets.tokenizer import PatchTokenizer, Tokenizer
from lomar.targets.tokens import TokenTarget

__all__ = ['Frozen', 'PatchTokenizer', 'TokenTarget', 'Tokenizer']
