"""Timing of several ways to load JPEG files into a training batch on one core."""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar
from unittest import mock

import cv2
import numpy as np
import torch
from mmengine.dataset import Compose, default_collate
from mmengine.registry import init_default_scope
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_image, decode_jpeg, read_file
from torchvision.transforms import v2

from lomar.datasets import list_images, random_resized_crop
from lomar.datasets.resize_folder import resize_images
from lomar.datasets.write_shards import write_shards

SIZE = 224
RANGE = (0.2, 1.0)  # fraction of the image's area in a crop
GRAIN = 6  # standard deviation of the sensor noise, in 8-bit values
BASELINE = 'mmpretrain'
GPU = 'decode_jpeg on the GPU'
NOT_RUN = {
    GPU: 'not run: there is no CUDA device',
    'ours, simplejpeg': 'not run: simplejpeg is not installed',
}
Way = TypeVar('Way', bound=Hashable)
Load = Callable[[list[str]], Tensor]  # paths -> (B, 3, 224, 224) uint8


def make_images(folder: Path, count: int, width: int, height: int, quality: int) -> float:
    """Write JPEG files of random content and return their mean size in bytes.

    Every second image is a crop of one of scikit-learn's two photographs, if scikit-learn is
    installed and the photographs are large enough. The other images are from `spectrum`, whose
    files are about as large as a camera's.
    """
    rng = np.random.default_rng(0)
    photographs = _photographs(width, height)
    for number in range(count):
        if photographs and number % 2:
            image = photographs[number // 2 % len(photographs)]
            left = int(rng.integers(image.width - width + 1))
            top = int(rng.integers(image.height - height + 1))
            image = image.crop((left, top, left + width, top + height))
        else:
            image = spectrum(rng, width, height)
        image.save(folder / f'{number:03d}.jpg', quality=quality)
    return sum(path.stat().st_size for path in folder.iterdir()) / count


def _photographs(width: int, height: int) -> list[Image.Image]:
    try:
        from sklearn.datasets import load_sample_images
    except ImportError:
        return []
    images = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    return [image for image in images if image.width >= width and image.height >= height]


def spectrum(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return noise whose amplitude falls with its frequency, plus sensor noise."""
    pixels = np.zeros((height, width, 3), np.float32)
    cells = 4
    while cells <= 2 * width:
        grain = rng.standard_normal((cells * height // width, cells, 3), np.float32)
        # Colours vary less than brightness does.
        grain = 0.3 * grain + 0.7 * grain[..., :1]
        scaled = cv2.resize(grain, (width, height), interpolation=cv2.INTER_CUBIC)
        pixels += scaled / cells**0.8
        cells *= 2
    pixels = (pixels - pixels.mean()) / pixels.std() * 55 + 118
    pixels += GRAIN * rng.standard_normal(pixels.shape, np.float32)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def contenders() -> dict[str, Load]:
    """Return loading methods by name; each crops, flips and returns one uint8 tensor."""
    crop = dict(type='RandomResizedCrop', scale=SIZE, crop_ratio_range=RANGE)
    pillow = dict(crop, backend='pillow', interpolation='bicubic')
    flip = dict(type='RandomFlip', prob=0.5)
    ours = pipeline_load(dict(crop, type='LoadRandomResizedCrop'))
    ways = {
        BASELINE: pipeline_load(dict(type='LoadImageFromFile'), pillow, flip),
        'LoadImage + pillow': pipeline_load(dict(type='LoadImage'), pillow, flip),
        'torchvision v2': _torchvision(),
        'ours, torchvision': mock.patch.object(random_resized_crop, 'simplejpeg', None)(ours),
    }
    if random_resized_crop.simplejpeg is not None:
        ways['ours, simplejpeg'] = ours
    if torch.cuda.is_available():
        ways[GPU] = _gpu()
    return ways


def pipeline_load(*steps: dict) -> Load:
    """Return a function that runs transforms and collates, as a dataset and loader do."""
    init_default_scope('mmpretrain')
    run = Compose([*steps, dict(type='PackInputs')])
    return lambda paths: default_collate([run(dict(img_path=path)) for path in paths])['inputs']


def _crop_and_flip() -> v2.Compose:
    crop = v2.RandomResizedCrop(SIZE, RANGE, interpolation=v2.InterpolationMode.BICUBIC)
    return v2.Compose([crop, v2.RandomHorizontalFlip(0.5)])


def _torchvision() -> Load:
    transform = _crop_and_flip()
    read = ImageReadMode.RGB
    return lambda paths: torch.stack([transform(decode_image(path, read)) for path in paths])


def _gpu() -> Load:
    transform = _crop_and_flip()

    def load(paths: list[str]) -> Tensor:
        files = [read_file(path) for path in paths]
        images = decode_jpeg(files, ImageReadMode.RGB, device='cuda')
        batch = torch.stack([transform(image) for image in images])
        torch.cuda.synchronize()
        return batch

    return load


def time_ways(
    ways: Mapping[Way, tuple[Load, list[str]]],
    repeats: int,
    shapes: Mapping[Way, tuple[int, ...]] = MappingProxyType({}),
) -> dict[Way, list[float]]:
    """Return images per second of each method in `repeats` rounds, after one round of warm-up.

    The methods take turns, so that other load on the machine affects all of them alike. Times are
    thread CPU times; for the GPU, wall-clock times.
    """
    speeds: dict[Way, list[float]] = {name: [] for name in ways}
    for repeat in range(-1, repeats):
        for name, (load, paths) in ways.items():
            random.seed(repeat + 1)
            np.random.seed(repeat + 1)
            torch.manual_seed(repeat + 1)
            clock = time.perf_counter if name == GPU else time.thread_time
            start = clock()
            batch = load(paths)
            seconds = clock() - start
            shape = len(paths), *shapes.get(name, (3, SIZE, SIZE))
            if batch.shape != shape or batch.dtype != torch.uint8:
                raise ValueError(f'{name} made {batch.dtype} {tuple(batch.shape)}')
            if repeat >= 0:
                speeds[name].append(len(paths) / seconds)
    return speeds


def benchmark_loading(
    width: int = 500,
    height: int = 375,
    images: int = 48,
    repeats: int = 11,
    quality: int = 90,
    short_sides: tuple[int, ...] = (320, 256),
) -> dict:
    """Time all loading methods in one thread, and ours on smaller copies and a shard of the files.

    Returns:
        {'files', 'ways'}. Each method has the median and quartiles of its images per second, and
        the median of its ratio to mmpretrain's default in the same round; a method that cannot
        run has the reason instead.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, 'files')
        source.mkdir()
        size = make_images(source, images, width, height, quality)
        ways = {name: (load, file_list(source)) for name, load in contenders().items()}
        ours = 'ours, torchvision' if random_resized_crop.simplejpeg is None else 'ours, simplejpeg'
        for side in short_sides:
            smaller = Path(scratch, str(side))
            resize_images(source, smaller, side, workers=1)
            ways[f'{ours}, short side {side}'] = (ways[ours][0], file_list(smaller))
        write_shards(source, Path(scratch, 'shards'))
        ways[f'{ours}, tar shard'] = (ways[ours][0], list_images(Path(scratch, 'shards')))
        reasons = {name: reason for name, reason in NOT_RUN.items() if name not in ways}
        if GPU in ways and (failure := _failure(*ways[GPU])):
            reasons[GPU] = failure
            del ways[GPU]
        speeds = time_ways(ways, repeats)
    made = dict(width=width, height=height, count=images, quality=quality, mean_bytes=round(size))
    return {
        'files': {**made, 'crop_range': RANGE, 'repeats': repeats},
        'ways': {**_summaries(speeds), **reasons},
    }


def _failure(load: Load, paths: list[str]) -> str | None:
    """Return why the first file cannot be loaded, or None; some PyTorch builds lack nvJPEG."""
    try:
        load(paths[:1])
    except RuntimeError as error:
        return f'not run: {str(error).splitlines()[0]}'
    return None


def file_list(folder: Path) -> list[str]:
    """Return the paths of the JPEG files in a folder."""
    return sorted(str(path) for path in folder.glob('*.jpg'))


def _summaries(speeds: dict[str, list[float]]) -> dict[str, dict]:
    summaries = {}
    for name, values in speeds.items():
        ratios = [mine / base for mine, base in zip(values, speeds[BASELINE], strict=True)]
        times = round(statistics.median(ratios), 3)
        summaries[name] = {**quartiles(values), 'times_mmpretrain': times}
    return summaries


def quartiles(speeds: list[float]) -> dict:
    """Return median, first and third quartile of images per second."""
    low, middle, high = statistics.quantiles(speeds, n=4)
    return {
        'images_per_second': round(middle, 1),
        'quartiles': [round(low, 1), round(high, 1)],
    }
