"""Detected objects of one image: boxes, classes, scores and masks, and their picture."""

from collections.abc import Sequence
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


@dataclass
class Detections:
    """The N objects of one image, in decreasing order of score, as NumPy arrays.

    Attributes:
        boxes: (N, 4) float32, [x1, y1, x2, y2] in pixels of the upright image.
        scores: (N,) float32, from 0 to 1.
        labels: (N,) int64, indices of the model's classes.
        names: the N class names.
        masks: (N, H, W) bool in the size of the image; None if the model predicts no masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    names: list[str]
    masks: np.ndarray | None = None

    def __len__(self) -> int:
        """Return N."""
        return len(self.boxes)

    def draw(self, image: AnyImage) -> Image.Image:
        """Return a picture of the image in which the objects are drawn, in its size.

        Args:
            image: the image as it was given to the detector. Pixels that are not 8-bit RGB are
                stretched to the visible range.

        Raises:
            ValueError: the masks have another size than the image.
        """
        pixels = visible_pixels(image)
        if self.masks is not None and len(self) and self.masks.shape[1:] != pixels.shape[:2]:
            raise ValueError(
                f'the image has (height, width) {pixels.shape[:2]}, and the masks have '
                f'{self.masks.shape[1:]}; allowed: the image of these detections'
            )
        texts = [f'{name} {score:.2f}' for name, score in zip(self.names, self.scores, strict=True)]
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


def draw_objects(
    pixels: np.ndarray,
    boxes: np.ndarray,
    texts: Sequence[str],
    colours: Sequence[str],
    masks: np.ndarray | None = None,
) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with N objects; lines and letters grow with its size.

    Args:
        boxes: (N, 4), [x1, y1, x2, y2].
        texts, colours: the label and the colour of each box; the first object is on top.
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
    draw, font = ImageDraw.Draw(picture), font_of(max(SMALLEST_LETTER, side // LETTER))
    for i in last_first:
        (x1, y1), (x2, y2) = boxes[i].reshape(2, 2).tolist()
        draw.rectangle((x1, y1, max(x1, x2), max(y1, y2)), None, colours[i], max(2, side // LINE))
    for i in last_first:
        left, top = boxes[i, :2].tolist()
        left = max(0, min(left, picture.width - draw.textlength(texts[i], font)))
        anchor = 'lb' if draw.textbbox((left, top), texts[i], font, 'lb')[1] >= 0 else 'lt'
        draw.rectangle(draw.textbbox((left, top), texts[i], font, anchor), colours[i])
        draw.text((left, top), texts[i], 'black', font, anchor)
    return np.asarray(picture)


@cache
def font_of(size: int) -> ImageFont.FreeTypeFont:
    """Return a font with Latin, Greek and Cyrillic letters."""
    path = Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf')
    return ImageFont.truetype(str(path), size)
