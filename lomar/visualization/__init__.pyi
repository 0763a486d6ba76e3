from .loss_curve import plot_loss as plot_loss
from .object_plots import plot_objects as plot_objects
from .output_paths import output_paths as output_paths
from .reconstruction import read_image as read_image
from .reconstruction import reconstruct as reconstruct
from .reconstruction import sheet as sheet
from .reconstruction_hook import ReconstructionHook as ReconstructionHook
