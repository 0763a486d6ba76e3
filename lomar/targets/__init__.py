"""Targets besides pixels: what masked patches are reconstructed as."""

from lomar.targets.frozen import Frozen

__all__ = ['Frozen']
