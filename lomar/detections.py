"""Detected objects of one image: boxes, classes, scores and masks, and their picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from lomar.datasets.any_image import AnyImage, visible_pixels

COLOURS = ('#ff3b30', '#0a84ff', '#ffcc00', '#34c759', '#bf5af2', '#64d2ff', '#ff9f0a', '#ffffff')
INSTALL = "pip install 'lomar-openmmlab[supervision]'"
# Pixels of the shorter side per pixel of a line and per pixel of a letter's height.
LINE, LETTER, SMALLEST_LETTER = 400, 45, 10


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
        masks = None if self.masks is None else torch.from_numpy(self.masks)
        drawn = torch.from_numpy(pixels).permute(2, 0, 1)
        drawn = draw_objects(drawn, torch.from_numpy(self.boxes), texts, colours, masks)
        return Image.fromarray(drawn.permute(1, 2, 0).numpy())

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
    image: Tensor,
    boxes: Tensor,
    texts: Sequence[str],
    colours: Sequence[str],
    masks: Tensor | None = None,
) -> Tensor:
    """Return an image (3, H, W) uint8 with N objects; lines and letters grow with its size.

    Args:
        boxes: (N, 4), [x1, y1, x2, y2].
        texts, colours: the label and the colour of each box.
        masks: (N, H, W) bool.
    """
    if not len(boxes):
        return image
    side = min(image.shape[1:])
    if masks is not None:
        image = draw_segmentation_masks(image, masks, alpha=0.3, colors=list(colours))
    letter = max(SMALLEST_LETTER, side // LETTER)
    return draw_bounding_boxes(
        image, boxes, list(texts), list(colours), False, max(2, side // LINE), _font(), letter
    )


@cache
def _font() -> str:
    """Return the file of a font with Latin, Greek and Cyrillic letters."""
    return str(Path(matplotlib.get_data_path(), 'fonts', 'ttf', 'DejaVuSans.ttf'))
