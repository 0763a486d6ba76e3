"""Detected objects of one image: boxes, classes, scores and masks, and their picture."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from lomar.datasets.any_image import AnyImage, visible_pixels

COLOURS = ('#ff3b30', '#0a84ff', '#ffcc00', '#34c759', '#bf5af2', '#64d2ff', '#ff9f0a', '#ffffff')
INSTALL = "pip install 'lomar-openmmlab[supervision]'"
# Pixels of the shorter side per pixel of a line and per pixel of a letter's height.
LINE, LETTER, SMALLEST_LETTER = 400, 45, 10
SHADE = 0.3  # of the colour of a mask
HIDDEN, HIDDEN_OWN = 0.1, 0.3  # shares of other boxes, and of its own, that a label may cover


@dataclass
class Detections:
    """The N objects of one image, in decreasing order of score, as NumPy arrays.

    Attributes:
        boxes: (N, 4) float32, [x1, y1, x2, y2] in pixels of the upright image.
        scores: (N,) float32, from 0 to 1.
        labels: (N,) int64, indices of the model's classes.
        names: the N class names.
        masks: (N, H, W) bool in the size of the image; None if the model predicts no masks.
        size: (height, width) of the upright image in pixels; None = that of the masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: list[str]
    masks: np.ndarray | None = None
    size: tuple[int, int] | None = None

    def __len__(self) -> int:
        """Return N."""
        return len(self.boxes)

    def draw(self, image: AnyImage) -> Image.Image:
        """Return a picture of the image in which the objects are drawn, in its size.

        Args:
            image: the image as it was given to the detector. Pixels that are not 8-bit RGB are
                stretched to the visible range.

        Raises:
            ValueError: the detections are of an image of another size.
        """
        pixels = visible_pixels(image)
        size = self.masks.shape[1:] if self.size is None and self.masks is not None else self.size
        if size not in (None, pixels.shape[:2]):
            raise ValueError(
                f'the image has (height, width) {pixels.shape[:2]}, and the detections are of an '
                f'image of {size}; allowed: the image of these detections'
            )
        texts = object_texts(self.names, self.scores)
        colours = [COLOURS[label % len(COLOURS)] for label in self.labels]
        return Image.fromarray(draw_objects(pixels, self.boxes, texts, colours, self.masks))

    def to_supervision(self) -> Any:
        """Return the objects as `supervision.Detections`; names are `data['class_name']`.

        Raises:
            ImportError: the package `supervision` is not installed.
        """
        try:
            import supervision
        except ImportError as error:
            raise ImportError(f'Detections.to_supervision needs supervision: {INSTALL}') from error
        return supervision.Detections(
            xyxy=self.boxes,
            mask=self.masks,
            confidence=self.scores,
            class_id=self.labels,
            data=dict(class_name=np.array(self.names, dtype=str)),
        )


def object_texts(names: Sequence[str], scores: Iterable[float]) -> list[tuple[str, str]]:
    """Return the label of each object: name and score, or the score alone where space is short."""
    return [
        (f'{name} {score:.2f}', f'{score:.2f}') for name, score in zip(names, scores, strict=True)
    ]


def draw_objects(
    pixels: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[Sequence[str]],
    colours: Sequence[str],
    masks: np.ndarray | None = None,
) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with N objects; lines and letters grow with its size.

    A label that would hide an object or another label is shortened or left out.

    Args:
        boxes: (N, 4), [x1, y1, x2, y2].
        texts: labels of each box, from the longest to the shortest; the first that fits is drawn.
        colours: colour of each box; the first object is on top.
        masks: (N, H, W) bool.
    """
    side, last_first = min(pixels.shape[:2]), range(len(boxes) - 1, -1, -1)
    if masks is not None:
        layer, covered = pixels.copy(), np.zeros(pixels.shape[:2], bool)
        for i in last_first:
            layer[masks[i]] = ImageColor.getrgb(colours[i])
            covered |= masks[i]
        pixels = pixels.copy()
        pixels[covered] = (1 - SHADE) * pixels[covered] + SHADE * layer[covered]
    picture = Image.fromarray(pixels)
    draw, font = ImageDraw.Draw(picture), _font(max(SMALLEST_LETTER, side // LETTER))
    for i in last_first:
        (x1, y1), (x2, y2) = boxes[i].reshape(2, 2).tolist()
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), None, colours[i], max(2, side // LINE))
    for i, text, place in _labels(draw, font, boxes, texts, picture.size):
        draw.rectangle(place, colours[i])
        draw.text((place[0], place[1]), text, 'black', font, 'lt')
    return np.asarray(picture)


def _labels(
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont,
    boxes: np.ndarray,
    texts: Sequence[Sequence[str]],
    size: tuple[int, int],
) -> Iterator[tuple[int, str, tuple[float, ...]]]:
    """Yield index, text and place [x1, y1, x2, y2] of the labels, in the order of the objects.

    A label is above its box, or below the upper edge if the image ends there.
    """
    taken = np.zeros((0, 4))
    for i, (left, top) in enumerate(boxes[:, :2].tolist()):
        for text in texts[i]:
            x1, y1, x2, y2 = draw.textbbox((0, 0), text, font, 'lt')
            width, height = x2 - x1, y2 - y1
            x = max(0, min(left, size[0] - width))
            y = max(0, top) if top < height else top - height
            place = x, y, x + width, y + height
            hidden = _shares(np.array(place), np.delete(boxes, i, axis=0)) > HIDDEN
            own = _shares(np.array(place), boxes[i : i + 1]) > HIDDEN_OWN
            if not (hidden.any() or own.any() or _shares(np.array(place), taken).any()):
                taken = np.concatenate([taken, [place]])
                yield i, text, place
                break


def _shares(place: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Return the share of each box (N, 4) that a place covers."""
    sides = np.minimum(place[2:], boxes[:, 2:]) - np.maximum(place[:2], boxes[:, :2])
    areas = (boxes[:, 2:] - boxes[:, :2]).clip(1).prod(1)
    return sides.clip(0).prod(1) / areas


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return a font with Latin, Greek and Cyrillic letters."""
    path = Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(str(path), size)
