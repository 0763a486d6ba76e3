"""A folder of images once more, smaller: plain files, which every tool reads."""

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from lomar.datasets.image_io import UnreadableImage
from lomar.datasets.random_resized_crop import Crop, read_resized
from lomar.datasets.unlabelled import list_images
from lomar.utils import atomic_write, write_json

SUMMARY = 'resized.json'
JPEG = ('.jpg', '.jpeg')


def resize_images(
    source: str | Path,
    out: str | Path,
    short_side: int,
    quality: int = 90,
    workers: int | None = None,
) -> dict:
    """Write the images of a folder with shorter sides of at most `short_side` pixels.

    The folders stay as they are. A larger image becomes an upright RGB JPEG of its own name, with
    `.jpg` added where it was no JPEG; one that is small enough is linked, or copied where the
    disk cannot link. Files that are there already are left, so an interrupted run can go on.

    Returns:
        what is written to `out`/resized.json: {'source', 'short_side', 'quality', 'resized',
        'kept', 'already_there' (counts), 'unreadable' (path: reason)}.

    Raises:
        FileNotFoundError: `source` has no images.
        ValueError: an argument out of range, `out` inside `source`, or made with other settings.
    """
    source, out = Path(source).expanduser().resolve(), Path(out).expanduser().resolve()
    settings = {'source': str(source), 'short_side': short_side, 'quality': quality}
    _check(source, out, settings)
    paths = list_images(source)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / SUMMARY, settings)
    counts = {'resized': 0, 'kept': 0, 'already_there': 0}
    unreadable = {}
    resize = partial(_resize, source=source, out=out, short_side=short_side, quality=quality)
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
        there = json.loads((out / SUMMARY).read_text(encoding='utf-8'))
        there = {name: there.get(name) for name in settings}
        if there != settings:
            raise ValueError(f'{out} was made with {there}, asked for are {settings}')
    elif out.is_dir() and next(_entries(out), None):
        raise ValueError(f'{out} is not empty, and {SUMMARY} is not in it')


def _entries(folder: Path) -> Iterator[Path]:
    return (entry for entry in folder.iterdir() if not entry.name.endswith('.part'))


def _resize(
    path: str, source: Path, out: Path, short_side: int, quality: int
) -> tuple[str, str | None]:
    """What was done with an image, and why it cannot be read if so."""
    same = out / Path(path).relative_to(source)
    as_jpeg = same if same.suffix.lower() in JPEG else same.with_name(f'{same.name}.jpg')
    if same.exists() or as_jpeg.exists():
        return 'already_there', None
    try:
        pixels, (width, height) = read_resized(path, partial(_whole, short_side))
    except UnreadableImage as error:
        return 'unreadable', error.reason
    same.parent.mkdir(parents=True, exist_ok=True)
    if pixels.shape[:2] == (height, width):
        _link(Path(path).resolve(), same)
        return 'kept', None
    with atomic_write(as_jpeg) as part:
        Image.fromarray(pixels).save(part, 'JPEG', quality=quality)
    return 'resized', None


def _whole(short_side: int, width: int, height: int) -> tuple[Crop, tuple[int, int]]:
    ratio = min(1, short_side / min(width, height))
    return (0, 0, height, width), (max(1, round(height * ratio)), max(1, round(width * ratio)))


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # another disk, or one without links
        with atomic_write(to) as part:
            shutil.copy2(path, part)
