"""Masks of the nuclei with three classes, made from their instances; images of one shorter side."""

import contextlib
import io
import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from pycocotools.coco import COCO

from lomar.datasets.image_io import read_rgb

CLASSES = ('background', 'nucleus', 'boundary')
WIDTH = 1  # pixels of the boundary on both sides of an edge


def three_classes(instances: np.ndarray) -> np.ndarray:
    """Return the labels of `CLASSES`, (H, W) uint8, from a map of instance ids (H, W), 0 = none.

    A pixel is boundary if there is another instance, or the background beside an instance, within
    `WIDTH` pixels in any direction. Where nuclei touch, both sides are boundary.
    """
    ids, square = instances.astype(np.float32), np.ones((2 * WIDTH + 1,) * 2, np.uint8)
    edge = cv2.erode(ids, square) != cv2.dilate(ids, square)
    return np.where(edge, 2, instances > 0).astype(np.uint8)


def write_masks(ann_file: Path, images: Path, out: Path, side: int) -> None:
    """Write images and masks as PNG with `side` pixels on the shorter side, unless they are there.

    Instance ids are reduced before the classes follow, so that boundaries have the same width in
    all images.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # progress of pycocotools
        coco = COCO(ann_file)
    for image in coco.dataset['images']:
        picture, mask = (out / kind / name_of(image) for kind in ('images', 'masks'))
        if picture.exists() and mask.exists():
            continue
        for path in (picture, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        ratio = side / min(image['height'], image['width'])
        size = round(image['width'] * ratio), round(image['height'] * ratio)
        ids = np.zeros((image['height'], image['width']), np.int32)
        for number, one in enumerate(coco.imgToAnns[image['id']], 1):
            ids[coco.annToMask(one).astype(bool)] = number
        small = cv2.resize(ids.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
        read_rgb(str(images / image['file_name'])).resize(size, Image.Resampling.BICUBIC).save(
            picture
        )
        Image.fromarray(three_classes(small)).save(mask)


def link(out: Path, source: Path, names: Iterable[str]) -> None:
    """Make a folder of links to some images and masks of `write_masks`."""
    for kind in ('images', 'masks'):
        (out / kind).mkdir(parents=True, exist_ok=True)
        for name in names:
            with contextlib.suppress(FileExistsError):
                os.symlink(source / kind / name, out / kind / name)


def name_of(image: dict) -> str:
    """Return the file name of an image of a COCO file in the folders of `write_masks`."""
    return f'{Path(image["file_name"]).stem}.png'
