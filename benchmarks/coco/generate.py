"""Write an annotation file of the size of COCO train2017, and a folder of its images.

The content is random and depends on the seed only. Annotations are in random order of images, as in
COCO. One JPEG file of 640 x 480 pixels stands for all images; the others are symbolic links.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from lomar.utils import atomic_write

WIDTH, HEIGHT = 640, 480
CATEGORIES = 80
CROWD_EVERY = 100  # one object of so many is a crowd with an uncompressed RLE
POINTS = 6, 30  # least and most points of a polygon


def image_ids(images: int) -> list[int]:
    """Return ids with gaps, as in COCO."""
    return (np.arange(images) * 4 + 9).tolist()


def image_entry(number: int) -> dict:
    """Return the entry of an image, with COCO's keys."""
    name = f'{number:012d}.jpg'
    return dict(
        license=1 + number % 8,
        file_name=name,
        coco_url=f'http://images.cocodataset.org/train2017/{name}',
        height=HEIGHT,
        width=WIDTH,
        date_captured='2013-11-14 11:18:45',
        flickr_url=f'http://farm7.staticflickr.com/6116/{number}_02bf69a7fd_z.jpg',
        id=number,
    )


def polygon(left: float, top: float, side: float, generator: np.random.Generator) -> list[float]:
    """Return [x, y, ...] of a star-shaped polygon in a square, with two decimals."""
    count = int(generator.integers(*POINTS))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    radii = side / 2 * generator.uniform(0.5, 1, count)
    centre = np.array([left, top]) + side / 2
    points = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], -1)
    return points.round(2).ravel().tolist()


def crowd(left: float, top: float, side: float) -> dict:
    """Return the uncompressed RLE of a square, column by column."""
    x, y, size = int(left), int(top), int(side)
    runs = [x * HEIGHT + y, *[size, HEIGHT - size] * (size - 1), size]
    return dict(counts=[*runs, WIDTH * HEIGHT - sum(runs)], size=[HEIGHT, WIDTH])


def annotation(number: int, image: int, generator: np.random.Generator) -> dict:
    """Return the entry of an object, with COCO's keys."""
    side = round(float(generator.uniform(4, 300)), 2)
    left = round(float(generator.uniform(0, WIDTH - side)), 2)
    top = round(float(generator.uniform(0, HEIGHT - side)), 2)
    is_crowd = number % CROWD_EVERY == 0
    shape = crowd(left, top, side) if is_crowd else [polygon(left, top, side, generator)]
    return dict(
        segmentation=shape,
        area=side * side * 0.6,
        iscrowd=int(is_crowd),
        image_id=image,
        bbox=[left, top, side, side],
        category_id=1 + int(generator.integers(CATEGORIES)),
        id=number,
    )


def entries(images: int, objects: int) -> Iterator[str]:
    """Yield the text of the file in parts, so that it is never in memory as a whole."""
    generator = np.random.default_rng(0)
    ids = image_ids(images)
    yield '{"info": {}, "licenses": [], "images": ['
    for place, number in enumerate(ids):
        yield (', ' if place else '') + json.dumps(image_entry(number))
    yield '], "annotations": ['
    for number in range(objects):
        entry = annotation(number, ids[int(generator.integers(images))], generator)
        yield (', ' if number else '') + json.dumps(entry)
    categories = [dict(id=number + 1, name=f'class {number}') for number in range(CATEGORIES)]
    yield f'], "categories": {json.dumps(categories)}}}'


def generate(folder: Path, images: int, objects: int) -> None:
    """Write annotations.json and images/ to a new folder."""
    pictures, picture = folder / 'images', folder / 'image.jpg'
    pictures.mkdir(parents=True)
    Image.new('RGB', (WIDTH, HEIGHT), 'grey').save(picture)
    for number in image_ids(images):
        (pictures / image_entry(number)['file_name']).symlink_to('../image.jpg')
    with atomic_write(folder / 'annotations.json') as part, part.open('w') as file:
        file.writelines(entries(images, objects))
