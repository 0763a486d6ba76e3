"""Detect objects in images of any size, tile by tile, and draw them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from math import ceil

import numpy as np
from PIL import Image, ImageColor
from pycocotools import mask as coco

from lomar.datasets.any_image import AnyImage, visible_pixels
from lomar.datasets.pixel_file import PixelFile
from lomar.detection.run_lengths import sampled
from lomar.detection.tile_merging import merge_tiles, shift_objects
from lomar.detection.tiles import Place, tile_places
from lomar.detections import COLOURS, SHADE, draw_objects, object_texts
from lomar.detector import Detector
from lomar.utils import check_least

ROWS = 256  # of the image that are read at a time for a picture


@dataclass
class LargeDetections:
    """The N objects of one large image, in decreasing order of score.

    Attributes:
        boxes, scores, labels, names: as in `lomar.Detections`.
        rles: N masks as COCO's RLE in the size of the image; None if the model predicts no masks.
            `pycocotools.mask.decode` returns bitmaps.
        height, width: size of the image in pixels.
        preview: (h, w, 3) uint8, the image for `draw`, downscaled by `factor`; None if not wanted.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: list[str]
    rles: list[dict] | None
    height: int
    width: int
    preview: np.ndarray | None = None
    factor: int = 1

    def __len__(self) -> int:
        """Return N."""
        return len(self.boxes)

    def draw(self) -> Image.Image:
        """Return a picture of the downscaled image with the objects.

        Raises:
            ValueError: there is no preview.
        """
        if self.preview is None:
            raise ValueError('there is no preview; call detect_tiles with longest=, in pixels')
        colours = [COLOURS[label % len(COLOURS)] for label in self.labels]
        layer, covered = self.preview.copy(), np.zeros(self.preview.shape[:2], bool)
        for rle, colour in reversed(list(zip(self.rles or (), colours, strict=False))):
            _paint(layer, covered, rle, self.factor, ImageColor.getrgb(colour))
        pixels = self.preview.copy()
        pixels[covered] = (1 - SHADE) * pixels[covered] + SHADE * layer[covered]
        texts = object_texts(self.names, self.scores)
        return Image.fromarray(draw_objects(pixels, self.boxes / self.factor, texts, colours))


def detect_tiles(
    detector: Detector,
    image: AnyImage,
    tile: int,
    overlap: int | None = None,
    threshold: float = 0.3,
    batch_size: int = 1,
    longest: int | None = None,
    progress: Callable[[list[Place]], Iterable[Place]] = iter,
) -> LargeDetections:
    """Return the objects of a large image, detected tile by tile and merged.

    The objects of each tile are those that the detector returns for the tile as an array. See
    `tile_places` for the tiles, and `lomar.detection.tile_merging` for the merging.

    Args:
        image: as for `Detector`; `Detector.open` tells of which files only parts are decoded.
        tile: side of a tile in pixels.
        overlap: pixels that neighbouring tiles have in common at least; None = an eighth of a tile.
        threshold, batch_size: as in `Detector`; a batch holds tiles.
        longest: pixels of the preview's longer side at most; None = no preview.
        progress: wraps the list of tiles, such as `tqdm`.

    Raises:
        UnreadableImage: the file, or a part of it, is missing or damaged.
        ValueError: the overlap is not smaller than the tile, the image has too many pixels, or the
            model does not support it.
    """
    check_least('detect_tiles', batch_size=batch_size, tile=tile)
    overlap = tile // 8 if overlap is None else overlap
    with detector.open(image) as file:
        size = file.height, file.width
        places = tile_places(*size, tile, overlap)
        found, rest = [], iter(progress(places))
        while batch := list(islice(rest, batch_size)):
            objects = detector([file.read(*place) for place in batch], threshold, batch_size)
            found += [
                shift_objects(place, size, one.boxes, one.scores, one.labels, one.masks)
                for place, one in zip(batch, objects, strict=True)
            ]
        preview, factor = (None, 1) if longest is None else downscaled(file, longest)
    whole = merge_tiles(places, found)
    return LargeDetections(
        boxes=whole.boxes,
        scores=whole.scores,
        labels=whole.labels,
        names=[detector.trained.name(label) for label in whole.labels.tolist()],
        rles=whole.masks,
        height=size[0],
        width=size[1],
        preview=None if preview is None else visible_pixels(preview),
        factor=factor,
    )


def downscaled(file: PixelFile, longest: int) -> tuple[np.ndarray, int]:
    """Return an image (h, w, C), of at most three channels, and the factor of its downscaling.

    A pixel is the mean of factor x factor pixels. The factor is the least whole number with which
    neither side is longer than `longest`.
    """
    factor = ceil(max(file.height, file.width) / longest)
    rows = ceil(ROWS / factor) * factor
    parts = [
        _mean(file.read(top, 0, min(rows, file.height - top), file.width)[..., :3], factor)
        for top in range(0, file.height, rows)
    ]
    return np.concatenate(parts), factor


def _mean(pixels: np.ndarray, factor: int) -> np.ndarray:
    """Return the means of factor x factor pixels, fewer at the right and bottom, in their dtype."""
    if factor == 1:
        return pixels
    sums, number = pixels.astype(np.float32), np.ones(1, np.float32)
    for axis in (0, 1):
        starts = np.arange(0, pixels.shape[axis], factor)
        sums = np.add.reduceat(sums, starts, axis=axis)
        number = np.multiply.outer(number, np.diff(starts, append=pixels.shape[axis]))
    means = sums / number[0][..., None]
    return (means if pixels.dtype.kind == 'f' else means.round()).astype(pixels.dtype)


def _paint(
    layer: np.ndarray, covered: np.ndarray, rle: dict, factor: int, colour: tuple[int, ...]
) -> None:
    """Set the pixels of a mask in pictures of the downscaled image."""
    left, top, width, height = (int(number) for number in coco.toBbox(rle))
    rows = np.arange(top // factor, ceil((top + height) / factor))
    columns = np.arange(left // factor, ceil((left + width) / factor))
    last_row, last_column = (side - 1 for side in rle['size'])
    middle = factor // 2
    inside = sampled(
        rle,
        np.minimum(rows * factor + middle, last_row),
        np.minimum(columns * factor + middle, last_column),
    )
    for picture, value in ((layer, colour), (covered, True)):
        picture[top // factor :, left // factor :][: len(rows), : len(columns)][inside] = value
