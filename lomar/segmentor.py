"""Class of every pixel of images in Python, from the checkpoint of a training run."""

import colorsys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from lomar.datasets.any_image import AnyImage, visible_pixels
from lomar.detections import COLOURS, LETTER, SMALLEST_LETTER, font_of
from lomar.image_model import ImageModel

SHADE = 0.5  # of the colour of a class
GOLDEN = 0.618034  # of the circle of hues between two colours


@dataclass
class Segmentation:
    """The class of every pixel of one image.

    Attributes:
        ids: (H, W) uint8 in the size of the image, indices of `names`.
        names: all class names of the model.
    """

    ids: np.ndarray
    names: list[str]

    def pixels(self) -> np.ndarray:
        """Return the number of pixels of each class, (N,) int64."""
        return np.bincount(self.ids.ravel(), minlength=len(self.names))

    def draw(self, image: AnyImage) -> Image.Image:
        """Return a picture of the image with the colours of the classes, and their names.

        Args:
            image: the image as it was given to the segmentor. Pixels that are not 8-bit RGB are
                stretched to the visible range.

        Raises:
            ValueError: the image has another size.
        """
        pixels = visible_pixels(image)
        if self.ids.shape != pixels.shape[:2]:
            raise ValueError(
                f'the image has (height, width) {pixels.shape[:2]}, and the ids have '
                f'{self.ids.shape}; allowed: the image of this segmentation'
            )
        colours = np.array([class_colour(label) for label in range(len(self.names))], np.float32)
        mixed = (1 - SHADE) * pixels + SHADE * colours[self.ids]
        picture = Image.fromarray(mixed.astype(np.uint8))
        draw, top = ImageDraw.Draw(picture), 0.0
        font = font_of(max(SMALLEST_LETTER, min(pixels.shape[:2]) // LETTER))
        for label in np.argsort(-self.pixels(), kind='stable'):
            if not (self.ids == label).any():
                break
            box = draw.textbbox((0, top), self.names[label], font, 'lt')
            draw.rectangle(box, class_colour(int(label)))
            draw.text((0, top), self.names[label], 'black', font, 'lt')
            top = box[3]
        return picture


def class_colour(label: int) -> tuple[int, int, int]:
    """Return the colour (R, G, B) of a class; colours of near labels differ."""
    if label < len(COLOURS):
        red, green, blue = ImageColor.getrgb(COLOURS[label])[:3]
        return red, green, blue
    red, green, blue = (
        round(255 * part) for part in colorsys.hsv_to_rgb(label * GOLDEN % 1, 0.65, 0.95)
    )
    return red, green, blue


class Segmentor(ImageModel):
    """Segmentor of a training run: images to a class per pixel.

    Inference is in whole images or in windows, as `model.test_cfg` of the training says. Arguments,
    attributes and errors are those of `lomar.image_model.ImageModel`.
    """

    kind = 'segmentor'

    def __call__(self, images: Iterable[AnyImage], batch_size: int = 1) -> list[Segmentation]:
        """Return the classes of each image; with `batch_size=1`, those of `lomar test`, to the bit.

        Args:
            images: paths, PIL images, arrays (H, W) or (H, W, C) in the order R, G, B, or tensors
                (C, H, W); files are read as in the training.
            batch_size: number of images per forward pass, if they have one size.

        Raises:
            TypeError, ValueError: an entry is not an image, or the model does not support it.
            UnreadableImage: a file is missing or damaged.
        """
        return [self.segmentation(found) for found in self.predict_all(images, batch_size)]

    def segmentation(self, found: Any) -> Segmentation:
        """Return the classes of a prediction, mmseg's `SegDataSample`."""
        ids = found.pred_sem_seg.data[0].cpu().numpy().astype(np.uint8)
        number = max(found.seg_logits.data.shape[0], 2)  # one logit stands for two classes
        return Segmentation(ids, [self.trained.name(label) for label in range(number)])
