"""Detected objects of images in Python, from the checkpoint of a training run."""

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np

from lomar.datasets.any_image import AnyImage
from lomar.detections import Detections
from lomar.image_model import ImageModel


class Detector(ImageModel):
    """Detector of a training run: images to boxes, classes, scores and masks.

    Arguments, attributes and errors are those of `lomar.image_model.ImageModel`.
    """

    kind = 'detector'

    def __call__(
        self, images: Iterable[AnyImage], threshold: float = 0.3, batch_size: int = 1
    ) -> list[Detections]:
        """Return the objects of each image; with `batch_size=1`, those of `lomar test`, to the bit.

        Args:
            images: paths, PIL images, arrays (H, W) or (H, W, C) in the order R, G, B or R, G, B,
                alpha, or tensors (C, H, W); files are read as in the training.
            threshold: smallest score of an object that is returned, from 0 to 1, inclusive.
            batch_size: number of images per forward pass. Images of a batch are padded to one size,
                which may change the last digits.

        Raises:
            TypeError, ValueError: an entry is not an image, or the model does not support it.
            UnreadableImage: a file is missing or damaged.
        """
        check_threshold(threshold)
        return [self.detections(found, threshold) for found in self.predict_all(images, batch_size)]

    def detections(self, found: Any, threshold: float) -> Detections:
        """Return the objects of a prediction, mmdet's `DetDataSample`, from a score on."""
        instances = found.pred_instances
        instances = instances[instances.scores >= threshold].cpu()
        labels = instances.labels.numpy().astype(np.int64)
        masks = instances.get('masks')
        height, width = found.ori_shape[:2]
        return Detections(
            boxes=instances.bboxes.float().numpy().reshape(-1, 4),
            scores=instances.scores.float().numpy(),
            labels=labels,
            names=[self.trained.name(label) for label in labels.tolist()],
            masks=None if masks is None else np.asarray(masks).astype(bool),
            size=(height, width),
        )


def check_threshold(threshold: float) -> None:
    """Raise a ValueError unless a threshold of scores is in [0, 1]."""
    if not isinstance(threshold, Real) or not 0 <= threshold <= 1:
        raise ValueError(f'threshold is {threshold}; allowed: a score from 0 to 1')
