from .curves import plot_loss as plot_loss
from .hook import ReconstructionHook as ReconstructionHook
from .reconstruction import read_batch as read_batch
from .reconstruction import read_native as read_native
from .reconstruction import reconstruct as reconstruct
from .reconstruction import sheet as sheet
