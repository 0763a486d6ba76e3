"""Images to learn from: files people have, and the embedded dataset."""

from lomar.datasets.image_io import (
    UnreadableImage,
    is_readable,
    open_pixels,
    read_pixels,
    read_rgb,
)
from lomar.datasets.load_image import LoadChannels, LoadRandomResizedCropChannels, LoadRGB
from lomar.datasets.random_resized_crop import LoadRandomResizedCrop
from lomar.datasets.replay import InfiniteReplaySampler, ReplaySampler
from lomar.datasets.unlabelled import UnlabelledImages, check_images, list_images
from lomar.datasets.window_loading import LoadCropRegions, LoadNative, LoadRegions

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
