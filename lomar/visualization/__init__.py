"""Pictures for people: reconstructions and curves."""

from lomar.visualization.curves import plot_loss
from lomar.visualization.hook import ReconstructionHook
from lomar.visualization.reconstruction import read_batch, read_native, reconstruct, sheet

__all__ = ['ReconstructionHook', 'plot_loss', 'read_batch', 'read_native', 'reconstruct', 'sheet']
