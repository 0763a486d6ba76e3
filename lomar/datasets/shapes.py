"""Make the embedded dataset: textured shapes as JPEG files with COCO annotations and labels."""

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from tqdm import tqdm

from lomar.datasets.shape_drawing import CATEGORIES, RECIPE, render
from lomar.utils import write_json

SPLITS = ('train', 'val')
FOLDERS = (*SPLITS, 'annotations')
DESCRIPTION = 'LoMaR shapes'
CHUNK = 20
LIMITS = {'train': (0, 999999), 'val': (0, 999999), 'size': (32, 1024), 'seed': (0, 2**32 - 1)}


def mask_to_polygons(mask: np.ndarray) -> list[list[float]]:
    """Return a bool mask (H, W) as COCO polygons [x, y, ...] in pixels, along the pixel edges.

    pycocotools rasterises the polygons to exactly the mask. COCO polygons have no holes, so a
    region with a hole is cut in two through the hole.
    """
    doubled = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    polygons = []
    for contour, (_, _, _, parent) in zip(contours, [] if tree is None else tree[0], strict=True):
        # A doubled pixel x covers 2x and 2x + 1, which become the pixel's edges x and x + 1.
        corners = (contour[:, 0] + 1) // 2
        if parent >= 0:
            cut = int(corners[:, 0].min() + corners[:, 0].max()) // 2
            left = np.arange(mask.shape[1]) < cut
            return mask_to_polygons(mask & left) + mask_to_polygons(mask & ~left)
        moved = (corners != np.roll(corners, 1, axis=0)).any(axis=1)
        polygons.append(corners[moved].ravel().astype(float).tolist())
    return polygons


def make_shapes(
    out: str | Path,
    train: int,
    val: int,
    size: int,
    seed: int,
    workers: int | None = None,
    overwrite: bool = False,
    categories: str = 'shape+texture',
) -> dict:
    """Write the dataset: out/{train,val}/NNNNNN.jpg and out/annotations/{train,val}.{json,txt}.

    The JSON files are in COCO's format; the text files name the category of the main object of
    every image. The same arguments give the same bytes for any number of worker processes. A
    complete dataset with the same arguments is kept.

    Args:
        train, val, size: number of images, and their side in pixels.
        workers: number of processes; None = one per core.
        overwrite: whether a dataset with other arguments is replaced, unless it has other files.
        categories: key of `lomar.datasets.shape_drawing.CATEGORIES`.

    Returns:
        {'out', 'made' (bool), 'images', 'objects' (category name: count), 'seconds'}.

    Raises:
        ValueError: an argument is out of range, or `out` holds something else.
    """
    start = time.perf_counter()
    out, asked = Path(out).resolve(), {'train': train, 'val': val, 'size': size, 'seed': seed}
    workers = (os.cpu_count() or 1) if workers is None else workers
    for name, value in {**asked, 'workers': workers}.items():
        low, high = LIMITS.get(name, (1, 1024))
        if not low <= value <= high:
            raise ValueError(f'--{name} must be between {low} and {high}, got {value}')
    if categories not in CATEGORIES:
        raise ValueError(f'--categories must be one of {", ".join(CATEGORIES)}, got {categories}')
    info = {'description': DESCRIPTION, 'recipe': RECIPE, **asked, 'categories': categories}
    made = not _already_there(out, info, overwrite)
    if made:
        out.parent.mkdir(parents=True, exist_ok=True)
        # Made beside `out` and renamed at the end, so that `out` is complete or absent.
        with tempfile.TemporaryDirectory(prefix=f'.{out.name}.', dir=out.parent) as scratch:
            _write(Path(scratch) / 'new', info, workers)
            if out.exists():
                out.rename(Path(scratch) / 'old')
            Path(scratch, 'new').rename(out)
    names = CATEGORIES[categories]
    objects = Counter(dict.fromkeys(names, 0))
    for split in SPLITS:
        annotations = json.loads(_annotation_file(out, split).read_text())['annotations']
        objects.update(names[a['category_id'] - 1] for a in annotations)
    return {
        'out': str(out),
        'made': made,
        'images': train + val,
        'objects': dict(objects),
        'seconds': time.perf_counter() - start,
    }


def main_objects(coco: dict) -> list[tuple[str, str]]:
    """Return the file name of every image and the category of its largest visible object."""
    names = {category['id']: category['name'] for category in coco['categories']}
    largest = {}
    for one in sorted(coco['annotations'], key=lambda one: one['area']):
        largest[one['image_id']] = names[one['category_id']]
    return [(image['file_name'], largest[image['id']]) for image in coco['images']]


def _annotation_file(out: Path, split: str) -> Path:
    return out / 'annotations' / f'{split}.json'


def _already_there(out: Path, info: dict, overwrite: bool) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        found = [json.loads(_annotation_file(out, split).read_text())['info'] for split in SPLITS]
        ours = all(one['description'] == DESCRIPTION for one in found)
    except (OSError, ValueError, LookupError, TypeError):
        ours = False
    if not ours or (overwrite and _others(out, found)):
        raise ValueError(
            f'{out} exists and holds something else than a shapes dataset, which is '
            'never overwritten; choose another --out, or remove it yourself'
        )
    counts = [len(list((out / split).glob('*.jpg'))) for split in SPLITS]
    same = found == [info, info] and counts == [info[split] for split in SPLITS]
    if overwrite or same:
        return not overwrite
    there, asked = (
        ' '.join(f'{key}={value}' for key, value in one.items() if key != 'description')
        for one in (found[0], info)
    )
    raise ValueError(
        f'{out} holds {there} ({counts[0]} + {counts[1]} images are there), asked '
        f'for {asked}; choose another --out, or pass --overwrite to replace it'
    )


def _others(out: Path, found: Sequence[dict]) -> list[Path]:
    """Return the files and folders in a dataset that its settings did not make."""
    own = {out / name for name in FOLDERS}
    for split, info in zip(SPLITS, found, strict=True):
        annotations = _annotation_file(out, split)
        own |= {annotations, annotations.with_suffix('.txt')}
        own |= {out / split / f'{index:06d}.jpg' for index in range(info[split])}
    return [path for path in out.rglob('*') if path not in own]


def _write(out: Path, info: dict, workers: int) -> None:
    for name in FOLDERS:
        (out / name).mkdir(parents=True)
    jobs = [
        (out, info, split, first, min(first + CHUNK, info[name]))
        for split, name in enumerate(SPLITS)
        for first in range(0, info[name], CHUNK)
    ]
    objects: list[list] = [[] for _ in SPLITS]
    with tqdm(total=info['train'] + info['val'], unit='img', desc='shapes') as bar:
        for job, drawn in zip(jobs, _drawn(jobs, workers), strict=True):
            objects[job[2]] += drawn
            bar.update(len(drawn))
    for split, found in zip(SPLITS, objects, strict=True):
        coco = _coco(info, found)
        write_json(_annotation_file(out, split), coco, indent=None)
        lines = [f'../{split}/{name}\t{category}\n' for name, category in main_objects(coco)]
        _annotation_file(out, split).with_suffix('.txt').write_text(''.join(lines))


def _drawn(jobs: list[tuple], workers: int) -> Iterator[list]:
    if workers == 1 or len(jobs) < 2:
        yield from map(_draw, jobs)
        return
    # A forked process hangs if it inherits a running thread pool of OpenCV.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with ProcessPoolExecutor(min(workers, len(jobs))) as pool:
            yield from pool.map(_draw, jobs)
    finally:
        cv2.setNumThreads(threads)


def _draw(job: tuple) -> list[list[dict]]:
    """Write a chunk of images; return the COCO annotations of each image, without ids."""
    out, info, split, first, stop = job
    drawn = []
    for index in range(first, stop):
        rng = np.random.default_rng([info['seed'], split, index])
        pixels, objects = render(rng, info['size'], info['categories'])
        # With subsampled chroma, colors bleed over the edges that the masks follow.
        Image.fromarray(pixels).save(
            out / SPLITS[split] / f'{index:06d}.jpg', quality=92, subsampling='4:4:4'
        )
        drawn.append([_annotation(category, mask) for category, mask in objects])
    return drawn


def _annotation(category: int, mask: np.ndarray) -> dict:
    return {
        'category_id': category + 1,
        'bbox': [float(side) for side in cv2.boundingRect(mask.astype(np.uint8))],
        'area': float(mask.sum()),
        'iscrowd': 0,
        'segmentation': mask_to_polygons(mask),
    }


def _coco(info: dict, objects: list[list[dict]]) -> dict:
    side = {'width': info['size'], 'height': info['size']}
    flat = [{'image_id': image, **one} for image, found in enumerate(objects, 1) for one in found]
    return {
        'info': info,
        'images': [
            {'id': index + 1, 'file_name': f'{index:06d}.jpg', **side}
            for index in range(len(objects))
        ],
        'annotations': [{'id': index, **one} for index, one in enumerate(flat, 1)],
        'categories': [
            {'id': index, 'name': name, 'supercategory': name.split()[-1]}
            for index, name in enumerate(CATEGORIES[info['categories']], 1)
        ],
    }
