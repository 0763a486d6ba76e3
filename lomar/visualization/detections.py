"""Pictures of detections beside what is annotated."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks, make_grid

from lomar.datasets.loading import read_rgb

COLOURS = ('#ff3b30', '#0a84ff', '#ffcc00', '#34c759', '#bf5af2', '#64d2ff', '#ff9f0a', '#ffffff')
MIN_CELL = 240  # pixels; smaller images are enlarged so that one can see something


def detection_sheet(
    annotations: str | Path,
    images: str | Path,
    results: str | Path,
    number: int = 6,
    threshold: float = 0.5,
) -> Image.Image:
    """Draw the first `number` images: annotated above, detected below, a colour for each class.

    Args:
        annotations: COCO-format file.
        images: folder of its images.
        results: detections in COCO's result format, with masks (segm.json) or without.
        threshold: least score of a detection that is drawn.
    """
    coco = json.loads(Path(annotations).read_text())
    chosen = {image['id']: image for image in coco['images'][:number]}
    names = {category['id']: category['name'] for category in coco['categories']}
    truth, found = defaultdict(list), defaultdict(list)
    for one in coco['annotations']:
        truth[one['image_id']].append(one)
    for one in json.loads(Path(results).read_text()):
        if one['score'] >= threshold:
            found[one['image_id']].append(one)
    pictures = [
        _draw(Path(images) / chosen[key]['file_name'], objects[key], names)
        for objects in (truth, found)
        for key in chosen
    ]
    height = max(picture.shape[1] for picture in pictures)
    width = max(picture.shape[2] for picture in pictures)
    padded = [
        torch.nn.functional.pad(one, (0, width - one.shape[2], 0, height - one.shape[1]))
        for one in pictures
    ]
    grid = make_grid(padded, nrow=len(chosen), padding=4, pad_value=255)
    return Image.fromarray(grid.permute(1, 2, 0).numpy())


def _draw(path: Path, objects: list[dict], names: dict[int, str]) -> Tensor:
    """Draw COCO annotations or detections into an image file, enlarged if it is small."""
    image = read_rgb(path)
    scale = max(MIN_CELL / min(image.size), 1)
    size = round(image.width * scale), round(image.height * scale)
    large = torch.from_numpy(np.array(image.resize(size, Image.NEAREST))).permute(2, 0, 1)
    if not objects:
        return large
    order = sorted(names)
    colours = [COLOURS[order.index(one['category_id']) % len(COLOURS)] for one in objects]
    masks = [_mask(one, image.height, image.width) for one in objects]
    if all(mask is not None for mask in masks):
        enlarged = [np.array(Image.fromarray(mask).resize(size, Image.NEAREST)) for mask in masks]
        shown = torch.from_numpy(np.stack(enlarged)).bool()
        large = draw_segmentation_masks(large, shown, alpha=0.3, colors=colours)
    left, top, width, height = torch.tensor([_box(one) for one in objects]).T * scale
    boxes = torch.stack([left, top, left + width, top + height], dim=1)
    labels = [
        f'{names[one["category_id"]]} {one["score"]:.2f}'
        if 'score' in one
        else names[one['category_id']]
        for one in objects
    ]
    return draw_bounding_boxes(large, boxes, labels, colours, width=2)


def _mask(one: dict, height: int, width: int) -> np.ndarray | None:
    region = one.get('segmentation')
    if not region:
        return None
    if isinstance(region, list):
        region = rle.merge(rle.frPyObjects(region, height, width))
    elif isinstance(region['counts'], list):
        region = rle.frPyObjects(region, height, width)
    return rle.decode(region)


def _box(one: dict) -> list[float]:
    return one['bbox'] if 'bbox' in one else rle.toBbox(one['segmentation']).tolist()
