"""Timing of loading only the windows of an image, compared with the whole image."""

import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.loading.ways import (
    RANGE,
    file_list,
    make_images,
    pipeline_load,
    quartiles,
    spectrum,
    time_ways,
)
from lomar.datasets import LoadWindows
from lomar.datasets.image_io import read_pixels

WINDOW, NUMBER, PATCH = 112, 4, 16  # LoMaR's windows, in pixels
BLOCK = 256  # side of a raster's tiles


def benchmark_regions(
    scales: Sequence[int],
    width: int = 500,
    height: int = 375,
    images: int = 48,
    repeats: int = 11,
    quality: int = 90,
) -> dict:
    """Time loading of crops of `scale` pixels, and of four windows of each, from JPEG files.

    Returns:
        {'files', 'scales'}; each scale has 'whole' and 'regions', with the median and quartiles of
        images per second on one core and the bytes per image in a batch, and 'times_whole', the
        median of the ratio in the same round.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    loads = {}
    shapes: dict[tuple[str, int], tuple[int, ...]] = {}
    for scale in scales:
        crop = dict(type='LoadRandomResizedCrop', scale=scale, crop_ratio_range=RANGE)
        windows = dict(size=WINDOW, number=NUMBER, patch_size=PATCH)
        loads['whole', scale] = pipeline_load(crop)
        loads['regions', scale] = pipeline_load({**crop, **windows, 'type': 'LoadWindows'})
        shapes['whole', scale] = 3, scale, scale
        shapes['regions', scale] = NUMBER, 3, WINDOW, WINDOW
    with tempfile.TemporaryDirectory() as scratch:
        size = make_images(Path(scratch), images, width, height, quality)
        paths = file_list(Path(scratch))
        ways = {name: (load, paths) for name, load in loads.items()}
        speeds = time_ways(ways, repeats, shapes)
    made = dict(width=width, height=height, count=images, quality=quality, mean_bytes=round(size))
    rows = {scale: _row(scale, speeds, shapes) for scale in scales}
    return {'files': {**made, 'crop_range': RANGE, 'repeats': repeats}, 'scales': rows}


def _row(scale: int, speeds: dict, shapes: dict) -> dict:
    row = {
        name: {**quartiles(speeds[name, scale]), 'bytes': math.prod(shapes[name, scale])}
        for name in ('whole', 'regions')
    }
    pairs = zip(speeds['regions', scale], speeds['whole', scale], strict=True)
    return {**row, 'times_whole': round(statistics.median(mine / base for mine, base in pairs), 3)}


def benchmark_raster(side: int, repeats: int = 3) -> dict:
    """Time reading of four windows of a tiled, compressed TIFF file, and of the whole file.

    Returns:
        {'side', 'tile', 'bytes', 'regions', 'whole'}; 'regions' and 'whole' have the median and
        range of thread CPU time in milliseconds.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch, 'raster.tif')
        _write_raster(path, side)
        load = LoadWindows(WINDOW, NUMBER)
        ways = dict(
            regions=lambda: load.transform(dict(img_path=str(path))),
            whole=lambda: read_pixels(path),
        )
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        ways['regions']()
        for _ in range(repeats):
            for name, run in ways.items():
                for _ in range(20 if name == 'regions' else 1):
                    start = time.thread_time()
                    run()
                    seconds[name].append(time.thread_time() - start)
        size = path.stat().st_size
    times = {
        name: {
            'milliseconds': round(1e3 * statistics.median(values), 2),
            'range': [round(1e3 * min(values), 2), round(1e3 * max(values), 2)],
        }
        for name, values in seconds.items()
    }
    return dict(side=side, tile=BLOCK, bytes=size, compression='deflate', **times)


def _write_raster(path: Path, side: int) -> None:
    """Write a repeated field of noise row by row of tiles; the raster need not fit into memory."""
    import rasterio  # an extra
    from rasterio.windows import Window

    field = 8 * BLOCK
    pixels = np.asarray(spectrum(np.random.default_rng(0), field, field)).transpose(2, 0, 1)
    pixels = np.tile(pixels, (1, 1, -(-side // field)))[..., :side]
    shape = dict(height=side, width=side, count=3, dtype='uint8', interleave='pixel')
    tiles = dict(tiled=True, blockxsize=BLOCK, blockysize=BLOCK, compress='deflate', zlevel=1)
    with rasterio.open(path, 'w', driver='GTiff', **shape, **tiles) as file:
        for top in range(0, side, BLOCK):
            rows = pixels[:, top % field :][:, : min(BLOCK, side - top)]
            file.write(rows, window=Window(0, top, side, rows.shape[1]))
