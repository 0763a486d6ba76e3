"""Pictures of detections and annotations."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import torch
from msgspec import UNSET, Meta, UnsetType
from PIL import Image
from pycocotools import mask as rle
from torch import Tensor
from torchvision.ops import box_convert
from torchvision.utils import make_grid

from lomar.datasets.image_io import read_rgb
from lomar.detection import read_coco
from lomar.detection.annotation_rules import WrongEntry, is_near, usable_segmentation
from lomar.detection.coco import COCO_FILE, UNREADABLE, short
from lomar.detections import COLOURS, draw_objects

NEAREST = Image.Resampling.NEAREST
MIN_CELL = 240  # pixels; smaller images are enlarged
Id = int | str
Number = Annotated[float, Meta(ge=-1e6, le=1e6)]  # pixels, which are drawn as 32-bit integers


class ImageEntry(msgspec.Struct):
    """Keys of an image of an annotation file that are read here."""

    id: Id
    file_name: str


class Object(msgspec.Struct):
    """Keys of an annotation, or of a detection in COCO's result format, that are drawn."""

    image_id: Id
    category_id: int
    bbox: tuple[Number, Number, Number, Number] | UnsetType = UNSET
    segmentation: dict | list | UnsetType | None = UNSET
    score: float | UnsetType = UNSET

    def __post_init__(self) -> None:
        """Refuse an object that has no place."""
        if not (self.bbox or self.segmentation):
            raise ValueError('Object missing required field `bbox` or `segmentation`')


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

    Raises:
        ValueError: an entry of a file is malformed, or the files do not belong together.
    """
    found = _read_detections(results)
    lists = read_coco(annotations, annotated=False, advice=COCO_FILE)
    truth = _converted(annotations, 'annotations', lists['annotations'], Object)
    entries = _converted(annotations, 'images', lists['images'], ImageEntry)
    files = {one.id: one.file_name for one in entries}
    if not files:
        raise ValueError(f'{annotations}: images is empty; allowed: one image or more')
    names = {one['id']: one['name'] for one in lists['categories']}
    names = names or {one.category_id: str(one.category_id) for one in found}  # images alone
    for file, objects in ((annotations, truth), (results, found)):
        for key, known in (('image_id', files), ('category_id', names)):
            if other := {getattr(one, key) for one in objects} - known.keys():
                raise ValueError(f'{file}: {key} {other.pop()} is not in {annotations}')
    masks = any(one.segmentation for one in found)
    chosen = list(files.items())[:number]
    pictures = []
    for file, objects in ((annotations, truth), (results, found)):
        shown = [one for one in objects if one.score is UNSET or one.score >= threshold]
        for key, name in chosen:
            own = [one for one in shown if one.image_id == key]
            try:
                pictures.append(_draw(Path(images) / name, own, names, masks))
            except WrongEntry as wrong:
                raise ValueError(
                    f'{file}: an object of the image {name}: {wrong.kind}{short(wrong.detail)}'
                ) from wrong
    return _grid(pictures, len(chosen))


def _read_detections(path: str | Path) -> list[Object]:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=list[Object])
    except UNREADABLE as error:
        wanted = 'allowed: segm.json or bbox.json of `lomar test --out`'
        raise ValueError(f'{path}: {error}; {wanted}') from error


def _converted(path: str | Path, name: str, entries: Iterable, kind: type) -> list:
    """Return the entries of a list of an annotation file as structs."""
    try:
        return msgspec.convert([*entries], list[kind])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        raise ValueError(f'{path}: {name}: {error}') from error


def _grid(pictures: list[Tensor], columns: int) -> Image.Image:
    height = max(picture.shape[1] for picture in pictures)
    width = max(picture.shape[2] for picture in pictures)
    padded = [
        torch.nn.functional.pad(one, (0, width - one.shape[2], 0, height - one.shape[1]))
        for one in pictures
    ]
    grid = make_grid(padded, nrow=columns, padding=4, pad_value=255)
    return Image.fromarray(grid.permute(1, 2, 0).numpy())


def _draw(path: Path, objects: list[Object], names: dict[int, str], masks: bool) -> Tensor:
    """Return an image with COCO annotations or detections drawn in; enlarge small images."""
    image = read_rgb(path)
    scale = max(MIN_CELL / min(image.size), 1)
    size = round(image.width * scale), round(image.height * scale)
    order = sorted(names)
    colours = [COLOURS[order.index(one.category_id) % len(COLOURS)] for one in objects]
    regions = [_rle(one, *image.size) if masks or not one.bbox else None for one in objects]
    shown = None
    if masks and objects:
        bitmaps = [Image.fromarray(rle.decode(region)) for region in regions]
        shown = np.stack([np.array(one.resize(size, NEAREST)) for one in bitmaps]).astype(bool)
    sides = [one.bbox or rle.toBbox(region) for one, region in zip(objects, regions, strict=True)]
    places = torch.from_numpy(np.array(sides, float).reshape(-1, 4) * scale)
    labels = [
        (names[one.category_id],)
        if one.score is UNSET
        else (f'{names[one.category_id]} {one.score:.2f}', f'{one.score:.2f}')
        for one in objects
    ]
    boxes = box_convert(places, 'xywh', 'xyxy').numpy()
    large = draw_objects(np.array(image.resize(size, NEAREST)), boxes, labels, colours, shown)
    return torch.from_numpy(large.copy()).permute(2, 0, 1)


def _rle(one: Object, width: int, height: int) -> dict:
    """Return the mask of an object; it has no pixel if the object has a box only."""
    usable = None
    if one.segmentation:
        entry, size = dict(segmentation=one.segmentation), dict(width=width, height=height)
        usable, _ = usable_segmentation(entry, size, is_near)
    if not usable:
        return rle.encode(np.zeros((height, width), np.uint8, 'F'))
    if isinstance(usable, dict) and isinstance(usable['counts'], str):
        return usable
    encoded = rle.frPyObjects(usable, height, width)
    return rle.merge(encoded) if isinstance(encoded, list) else encoded
