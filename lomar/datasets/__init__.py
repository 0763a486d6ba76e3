"""Images to learn from: files people have, and the embedded dataset."""

from lomar.datasets.channels import LoadChannels, LoadRandomResizedCropChannels
from lomar.datasets.crops import LoadRandomResizedCrop
from lomar.datasets.images import UnlabelledImages, check_images, list_images
from lomar.datasets.loading import LoadRGB, UnreadableImage, is_readable, read_rgb
from lomar.datasets.pixels import open_pixels, read_pixels
from lomar.datasets.regions import LoadCropRegions, LoadNative, LoadRegions
from lomar.datasets.sampler import InfiniteReplaySampler, ReplaySampler

__all__ = [
    'InfiniteReplaySampler',
    'LoadChannels',
    'LoadCropRegions',
    'LoadNative',
    'LoadRGB',
    'LoadRandomResizedCrop',
    'LoadRandomResizedCropChannels',
    'LoadRegions',
    'ReplaySampler',
    'UnlabelledImages',
    'UnreadableImage',
    'check_images',
    'is_readable',
    'list_images',
    'open_pixels',
    'read_pixels',
    'read_rgb',
]
