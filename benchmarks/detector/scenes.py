"""Random images, objects and detections, with numbers and sizes similar to COCO's."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.loading.ways import make_images
from lomar.utils import write_json

WIDTH, HEIGHT = 640, 480
OBJECTS = (10, 40)  # per image
SIDES = (8, 250)  # pixels; log-uniform: 40 % below 32, 28 % above 96; COCO has 41 and 24 %
CORNERS = 30  # of a polygon
DETECTIONS = 100  # per image, COCO's maximum


def make_scenes(folder: Path, images: int, classes: int) -> Path:
    """Write JPEG files and COCO annotations; return the path of the annotations."""
    rng = np.random.default_rng(0)
    make_images(folder, images, WIDTH, HEIGHT, quality=90)
    entries: list[dict] = []
    objects: list[dict] = []
    for image, path in enumerate(sorted(folder.glob('*.jpg'))):
        entries.append(dict(id=image, file_name=path.name, width=WIDTH, height=HEIGHT))
        for _ in range(rng.integers(*OBJECTS, endpoint=True)):
            category = int(rng.integers(classes)) + 1
            one = dict(id=len(objects) + 1, image_id=image, category_id=category, iscrowd=0)
            objects.append({**one, **_shape(rng)})
    categories = [dict(id=number + 1, name=f'class {number}') for number in range(classes)]
    path = folder / 'annotations.json'
    write_json(path, dict(images=entries, annotations=objects, categories=categories), indent=None)
    return path


def _shape(rng: np.random.Generator) -> dict:
    """Return a star-shaped polygon inside the image, with its box and area."""
    side = np.exp(rng.uniform(*np.log(SIDES)))
    centre = rng.uniform(side / 2, (WIDTH - side / 2, HEIGHT - side / 2))
    angles = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)
    radii = side / 2 * rng.uniform(0.6, 1, CORNERS)
    corners = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    low, high = corners.min(axis=0), corners.max(axis=0)
    x, y = corners.T
    area = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    return dict(
        segmentation=[corners.ravel().tolist()],
        bbox=[*low.tolist(), *(high - low).tolist()],
        area=float(area),
    )


def moved(boxes: Tensor, count: int, amount: float, generator: torch.Generator) -> Tensor:
    """Return boxes (count, 4) near given boxes (N, 4).

    Corners are moved by normal deviates of `amount` times the box's sides.
    """
    own = boxes[torch.arange(count) % len(boxes)]
    sides = (own[:, 2:] - own[:, :2]).repeat(1, 2)
    made = own + amount * sides * torch.randn(count, 4, generator=generator)
    return torch.cat([torch.minimum(made[:, :2], made[:, 2:]), made[:, 2:]], dim=1)


def detect(objects: list[dict], classes: int, size: int, generator: torch.Generator) -> dict:
    """Return plausible detections for an image's annotations, with masks before pasting.

    Returns:
        `bboxes` (100, 4) and `scores` (100,), half of them near objects, `labels` (100,), and
        `mask_preds` (100, classes, size, size), the logits of discs.
    """
    boxes = torch.tensor([one['bbox'] for one in objects])
    boxes[:, 2:] += boxes[:, :2]
    labels = torch.tensor([one['category_id'] - 1 for one in objects])
    order = torch.arange(DETECTIONS) % len(objects)
    near = moved(boxes, DETECTIONS, 0.05, generator)
    far = moved(boxes, DETECTIONS, 0.5, generator)
    half = torch.arange(DETECTIONS) < DETECTIONS // 2
    found = torch.where(half[:, None], near, far)
    limits = found.new_tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    places = torch.linspace(-1, 1, size)
    disc = 5 * (0.8 - places[:, None] ** 2 - places**2)
    return dict(
        bboxes=torch.minimum(found.clamp(min=0), limits),
        scores=torch.rand(DETECTIONS, generator=generator),
        labels=labels[order],
        mask_preds=disc.expand(DETECTIONS, classes, size, size),
    )
