"""Pictures of detections and annotations."""

import contextlib
import io
from pathlib import Path

import msgspec
import numpy as np
import torch
from PIL import Image
from pycocotools.coco import COCO
from torch import Tensor
from torchvision.ops import box_convert
from torchvision.utils import make_grid

from lomar.datasets.image_io import read_rgb
from lomar.detection import read_coco
from lomar.detection.coco import COCO_FILE
from lomar.detections import COLOURS, draw_objects

NEAREST = Image.Resampling.NEAREST
MIN_CELL = 240  # pixels; smaller images are enlarged


def detection_sheet(
    annotations: str | Path,
    images: str | Path,
    results: str | Path,
    number: int = 6,
    threshold: float = 0.5,
) -> Image.Image:
    """Draw the first `number` images with annotations (above) and detections (below).

    Args:
        annotations: COCO-format file, perhaps without annotations.
        images: folder of the images.
        results: detections in COCO's result format, with masks (segm.json) or without masks.
        threshold: smallest score of a drawn detection.
    """
    try:
        detections = msgspec.json.decode(Path(results).read_bytes(), type=list[dict])
    except msgspec.MsgspecError as error:
        wanted = 'allowed: segm.json or bbox.json of `lomar test --out`'
        raise ValueError(f'{results}: {error}; {wanted}') from error
    # pycocotools turns detected boxes without masks into masks as large as the boxes.
    masks = any('segmentation' in one for one in detections)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints progress
        truth, found = COCO(), COCO()
        lists = read_coco(annotations, annotated=False, advice=COCO_FILE)
        truth.dataset = {name: list(entries) for name, entries in lists.items()}
        found.dataset = {**truth.dataset, 'annotations': []}
        truth.createIndex()
        found.createIndex()
        if other := {one.get('image_id') for one in detections} - truth.imgs.keys():
            raise ValueError(f'{results}: image_id {other.pop()} is not in {annotations}')
        if detections:  # pycocotools fails for an empty list
            found = truth.loadRes(detections)
    chosen = truth.loadImgs(list(truth.imgs)[:number])
    ids = {one.get('category_id') for one in detections}
    names = {key: category['name'] for key, category in truth.cats.items()}
    names = names or {key: str(key) for key in ids}  # the file may have images alone
    if unknown := ids - names.keys():
        raise ValueError(f'{results}: category_id {unknown.pop()} is not in {annotations}')
    pictures = []
    for coco in (truth, found):
        for image in chosen:
            objects = coco.loadAnns(coco.getAnnIds(imgIds=image['id']))
            shown = [one for one in objects if one.get('score', 1) >= threshold]
            regions = [coco.annToMask(one) for one in shown] if masks else []
            pictures.append(_draw(Path(images) / image['file_name'], shown, regions, names))
    height = max(picture.shape[1] for picture in pictures)
    width = max(picture.shape[2] for picture in pictures)
    padded = [
        torch.nn.functional.pad(one, (0, width - one.shape[2], 0, height - one.shape[1]))
        for one in pictures
    ]
    grid = make_grid(padded, nrow=len(chosen), padding=4, pad_value=255)
    return Image.fromarray(grid.permute(1, 2, 0).numpy())


def _draw(
    path: Path, objects: list[dict], masks: list[np.ndarray], names: dict[int, str]
) -> Tensor:
    """Return an image with COCO annotations or detections drawn in; enlarge small images."""
    image = read_rgb(path)
    scale = max(MIN_CELL / min(image.size), 1)
    size = round(image.width * scale), round(image.height * scale)
    order = sorted(names)
    colours = [COLOURS[order.index(one['category_id']) % len(COLOURS)] for one in objects]
    shown = None
    if masks:
        enlarged = [np.array(Image.fromarray(mask).resize(size, NEAREST)) for mask in masks]
        shown = np.stack(enlarged).astype(bool)
    sides = (
        np.array([one['bbox'] for one in objects], float).reshape(-1, 4) * scale
    )  # pycocotools: arrays
    boxes = box_convert(torch.from_numpy(sides), 'xywh', 'xyxy').numpy()
    labels = [
        (f'{names[one["category_id"]]} {one["score"]:.2f}', f'{one["score"]:.2f}')
        if 'score' in one
        else (names[one['category_id']],)
        for one in objects
    ]
    large = draw_objects(np.array(image.resize(size, NEAREST)), boxes, labels, colours, shown)
    return torch.from_numpy(large.copy()).permute(2, 0, 1)
