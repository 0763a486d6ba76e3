"""Read image files, load them in training pipelines, and make the embedded dataset."""

from lomar.datasets import renamed_loaders  # noqa: F401  (registers)
from lomar.datasets.image_io import (
    UnreadableImage,
    is_readable,
    open_pixels,
    read_pixels,
    read_rgb,
)
from lomar.datasets.load_image import LoadImage, use_channels
from lomar.datasets.random_resized_crop import LoadRandomResizedCrop
from lomar.datasets.replay import InfiniteReplaySampler, ReplaySampler
from lomar.datasets.unlabelled import UnlabelledImages, check_images, list_images
from lomar.datasets.window_loading import LoadNative, LoadWindows

__all__ = [
    'InfiniteReplaySampler',
    'LoadImage',
    'LoadNative',
    'LoadRandomResizedCrop',
    'LoadWindows',
    'ReplaySampler',
    'UnlabelledImages',
    'UnreadableImage',
    'check_images',
    'is_readable',
    'list_images',
    'open_pixels',
    'read_pixels',
    'read_rgb',
    'use_channels',
]
