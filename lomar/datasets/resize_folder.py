"""Write a downscaled copy of an image folder as ordinary JPEG files."""

import errno
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image
from tqdm import tqdm

from lomar.datasets.color import check_value_range
from lomar.datasets.image_io import has_8_bits
from lomar.datasets.random_resized_crop import Crop, read_resized
from lomar.datasets.unlabelled import FOLDER, list_images
from lomar.datasets.unreadable import UnreadableImage
from lomar.utils import atomic_write, write_json

SUMMARY = 'resized.json'
JPEG = ('.jpg', '.jpeg')
JPEG_SIDE = 65500  # pixels, a limit of libjpeg


def resize_images(
    source: str | Path,
    out: str | Path,
    short_side: int,
    quality: int = 90,
    workers: int | None = None,
    value_range: Sequence[float] | None = None,
) -> dict:
    """Write the images of a folder tree to `out` with shorter sides of at most `short_side` pixels.

    Larger images become upright RGB JPEG files of the same name; `.jpg` is added to names of other
    formats. Smaller images are linked, or copied where the disk has no links. With `value_range`,
    that of `read_rgb`, smaller images of other than 8 bits become JPEG files of their own size.
    Files that exist in `out` are kept, so an interrupted run can be repeated.

    Returns:
        the contents of `out`/resized.json: {'source', 'short_side', 'quality', 'value_range',
        'resized', 'converted', 'kept', 'already_there' (counts), 'unreadable' (path: reason)}.

    Raises:
        FileNotFoundError: `source` has no images.
        ValueError: an argument is out of range, `out` is inside `source`, or was made with other
            settings, or two images would have one name.
    """
    source, out = Path(source).expanduser().resolve(), Path(out).expanduser().resolve()
    check_value_range('resize_images', value_range, convert=True)
    settings = {'source': str(source), 'short_side': short_side, 'quality': quality}
    settings['value_range'] = None if value_range is None else np.asarray(value_range).tolist()
    _check(source, out, settings)
    paths = list_images(source, arrays=value_range is not None, shards=False, advice=f'{FOLDER}.')
    _check_names(paths)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / SUMMARY, settings)
    kinds = ('resized', 'converted', 'kept', 'already_there')
    counts, unreadable = dict.fromkeys(kinds, 0), {}
    resize = partial(
        _resize,
        source=source,
        out=out,
        short_side=short_side,
        quality=quality,
        value_range=value_range,
    )
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        done = tqdm(pool.map(resize, paths, chunksize=16), total=len(paths), unit=' images')
        for path, (what, reason) in zip(paths, done, strict=True):
            if what == 'unreadable':
                unreadable[path] = reason
            else:
                counts[what] += 1
    summary = {**settings, **counts, 'unreadable': unreadable}
    write_json(out / SUMMARY, summary)
    return summary


def _check(source: Path, out: Path, settings: dict) -> None:
    if not source.is_dir():
        raise FileNotFoundError(f'{source} is no folder.')
    if out.is_relative_to(source):
        raise ValueError(f'OUT must not be inside IN: {out} is in {source}')
    for name, low, high in (('short_side', 16, 65500), ('quality', 1, 100)):
        if not low <= settings[name] <= high:
            flag = name.replace('_', '-')
            raise ValueError(f'--{flag} must be {low} to {high}, got {settings[name]}')
    if (out / SUMMARY).exists():
        summary = _summary(out / SUMMARY)
        there = {name: summary.get(name) for name in settings}
        if there != settings:
            raise ValueError(f'{out} was made with {there}, asked for are {settings}')
    elif out.is_dir() and any(not entry.name.endswith('.part') for entry in out.iterdir()):
        raise ValueError(f'{out} is not empty, and {SUMMARY} is not in it')


def _summary(path: Path) -> dict:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(
            f'{path}: {error}; allowed: the file of an earlier `lomar resize`, or another OUT'
        ) from error


def _check_names(paths: Sequence[str]) -> None:
    """Raise a ValueError if a larger image would get the name of another image."""
    there = set(paths)
    for path in paths:
        if Path(path).suffix.lower() not in JPEG and f'{path}.jpg' in there:
            raise ValueError(f'{path} and {path}.jpg would have one name in OUT; rename one')


def _resize(path: str, **settings) -> tuple[str, str | None]:
    """Write one image; return what was done with it, and for 'unreadable' the reason."""
    try:
        return _write(path, **settings), None
    except (UnreadableImage, ImportError) as error:  # ImportError: a TIFF file needs rasterio
        return 'unreadable', getattr(error, 'reason', str(error))
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return 'unreadable', 'the name of the file in OUT would be too long; rename the image'


def _write(
    path: str,
    source: Path,
    out: Path,
    short_side: int,
    quality: int,
    value_range: Sequence[float] | None,
) -> str:
    same = out / Path(path).relative_to(source)
    as_jpeg = same if same.suffix.lower() in JPEG else same.with_name(f'{same.name}.jpg')
    if same.exists() or as_jpeg.exists():
        return 'already_there'
    pixels, whole = read_resized(path, partial(_whole, short_side), value_range=value_range)
    same.parent.mkdir(parents=True, exist_ok=True)
    small = pixels.shape[:2] == whole
    if small and (value_range is None or has_8_bits(path)):
        try:
            os.link(Path(path).resolve(), same)
        except OSError:  # another disk, or a disk without links
            with atomic_write(same) as part:
                shutil.copy2(path, part)
        return 'kept'
    if max(pixels.shape[:2]) > JPEG_SIDE:
        height, width = pixels.shape[:2]
        raise UnreadableImage(
            path, f'{height} x {width} pixels after resizing; allowed in JPEG: {JPEG_SIDE} per side'
        )
    with atomic_write(as_jpeg) as part:
        Image.fromarray(pixels).save(part, 'JPEG', quality=quality)
    return 'converted' if small else 'resized'


def _whole(short_side: int, width: int, height: int) -> tuple[Crop, tuple[int, int]]:
    """Return the whole image as the crop, and its size after shrinking, for `read_resized`."""
    ratio = min(1, short_side / min(width, height))
    return (0, 0, height, width), (max(1, round(height * ratio)), max(1, round(width * ratio)))
