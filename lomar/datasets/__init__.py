"""Images to learn from: files people have, and the embedded dataset."""

from lomar.datasets.crops import LoadRandomResizedCrop
from lomar.datasets.images import UnlabelledImages, check_images, list_images
from lomar.datasets.loading import LoadRGB, UnreadableImage, is_readable, read_rgb
from lomar.datasets.sampler import InfiniteReplaySampler, ReplaySampler

__all__ = [
    'InfiniteReplaySampler',
    'LoadRGB',
    'LoadRandomResizedCrop',
    'ReplaySampler',
    'UnlabelledImages',
    'UnreadableImage',
    'check_images',
    'is_readable',
    'list_images',
    'read_rgb',
]
