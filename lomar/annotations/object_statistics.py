"""Statistics of the objects in a COCO file: numbers per image, sizes, shapes, classes."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lomar.annotations.source import check_unique, is_known
from lomar.detection.annotation_rules import WrongEntry, evaluation_object, has_area, is_number
from lomar.detection.coco import COCO_FILE, class_names, read_coco

SHARES = (0, 5, 25, 50, 75, 95, 100)  # percent of the quantiles
SIZES = dict(
    small=32**2, medium=96**2, large=np.inf
)  # areas in pixels below which COCO's AP counts


@dataclass
class ObjectStatistics:
    """Numbers of a COCO file. Crowds and unusable annotations are no objects.

    Attributes:
        classes: names in the order of category id.
        objects: number of objects by class, also 0.
        images_of: number of images with an object, by class.
        per_image: number of objects of each image.
        areas: area of each object in pixels, of its annotation, else of its box.
        ratios: width / height of the box of each object.
        masks: number of objects with a segmentation.
        left_out: number of annotations that are no objects, by reason.
    """

    classes: tuple[str, ...]
    objects: Counter[str]
    images_of: Counter[str]
    per_image: np.ndarray
    areas: np.ndarray
    ratios: np.ndarray
    masks: int
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def sizes(self) -> dict[str, int]:
        """Return the number of small, medium and large objects, by COCO's areas."""
        edges = [-1, *SIZES.values()]
        pairs = zip(SIZES, edges[:-1], edges[1:], strict=True)
        return {
            name: int(((self.areas >= low) & (self.areas < high)).sum())
            for name, low, high in pairs
        }

    def quantiles(self) -> dict[str, list[float]]:
        """Return the quantiles for `SHARES` of objects per image, sqrt(area) and width / height."""
        values = {
            'objects per image': self.per_image,
            'sqrt(area), pixels': np.sqrt(self.areas),
            'width / height': self.ratios,
        }
        return {
            name: np.percentile(each, SHARES).tolist() for name, each in values.items() if len(each)
        }

    def record(self) -> dict:
        """Return all numbers for a JSON file."""
        return dict(
            images=len(self.per_image),
            images_without_objects=int((self.per_image == 0).sum()),
            objects=len(self.areas),
            masks=self.masks,
            left_out=dict(self.left_out),
            sizes=self.sizes,
            quantiles=dict(percent=SHARES, **self.quantiles()),
            classes={
                name: dict(objects=self.objects[name], images=self.images_of[name])
                for name in self.classes
            },
        )


def object_statistics(path: str | Path) -> ObjectStatistics:
    """Return the statistics of a COCO file. The images are not read.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is not in COCO's format, has an id or a class twice, or has no images.
    """
    coco = read_coco(path, advice=COCO_FILE)
    check_unique(path, coco)
    names = {one['id']: one['name'] for one in coco['categories']}
    images = {
        one['id']: one
        for one in coco['images']
        if isinstance(one, dict) and type(one.get('id')) in (int, str)
    }
    if not images:
        raise ValueError(f'{path} has no images')
    left_out, per_image = Counter[str](), Counter[object]()
    rows, seen, masks = [], set(), 0
    for one in coco['annotations']:
        reason = _reason(one, images, names)
        if reason:
            left_out[reason] += 1
            continue
        box, name = one['bbox'], names[one['category_id']]
        has_mask = bool(one.get('segmentation'))
        rows.append((name, one['area'] if has_area(one) else box[2] * box[3], box[2] / box[3]))
        masks += has_mask
        per_image[one['image_id']] += 1
        seen.add((one['image_id'], name))
    return ObjectStatistics(
        class_names(coco),
        Counter(name for name, _, _ in rows),
        Counter(name for _, name in seen),
        np.array([per_image[key] for key in images]),
        np.array([area for _, area, _ in rows], float),
        np.array([ratio for _, _, ratio in rows], float),
        masks,
        left_out,
    )


def _reason(one: object, images: dict, names: dict) -> str:
    """Return why an annotation is no object, or ''."""
    if not isinstance(one, dict) or not is_known(one.get('category_id'), names):
        return 'is of no category of the file'
    if not is_known(one.get('image_id'), images):
        return 'is on no image of the file'
    image = images[one['image_id']]
    sides = {side: image.get(side) for side in ('width', 'height')}
    size = {side: value if is_number(value) else np.inf for side, value in sides.items()}
    try:
        found, reason = evaluation_object(one, size, masks=False)
    except WrongEntry as error:
        return error.kind.rstrip(' :,')
    return reason or ('is a crowd' if found and found['iscrowd'] else '')
