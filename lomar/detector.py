"""Detected objects of images in Python, from the checkpoint of a training run."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lomar.checkpoints.trained_model import TrainedModel
from lomar.datasets.any_image import AnyImage
from lomar.detections import Detections
from lomar.image_model import ImageModel


class Detector(ImageModel):
    """Detector of a training run: images to boxes, classes, scores and masks.

    Args:
        checkpoint: checkpoint of a training run, which stores its config; or a result of
            `lomar.checkpoints.trained_model`, which has its own device and weights.
        device: PyTorch device; None = a GPU if there is one.
        weights: 'plain', or 'ema' for the moving average in the file.
        value_range: values of black and white in images of other than 8 bits; None = those of the
            training.

    Attributes:
        classes: class names in the order of the labels.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no checkpoint of a training run, or its model is no detector.
    """

    def __init__(
        self,
        checkpoint: str | Path | TrainedModel,
        device: str | torch.device | None = None,
        weights: str = 'plain',
        value_range: Sequence[float] | None = None,
    ):
        super().__init__(checkpoint, 'detector', device, weights, value_range)

    def __call__(
        self, images: Iterable[AnyImage], threshold: float = 0.3, batch_size: int = 1
    ) -> list[Detections]:
        """Return the objects of each image; with `batch_size=1`, those of `lomar test`, to the bit.

        Args:
            images: paths, PIL images, arrays (H, W) or (H, W, C) in the order R, G, B, or tensors
                (C, H, W); files are read as in the training.
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
        return Detections(
            boxes=instances.bboxes.float().numpy().reshape(-1, 4),
            scores=instances.scores.float().numpy(),
            labels=labels,
            names=[self.trained.name(label) for label in labels.tolist()],
            masks=None if masks is None else np.asarray(masks).astype(bool),
        )


def check_threshold(threshold: float) -> None:
    """Raise a ValueError unless a threshold of scores is in [0, 1]."""
    if not 0 <= threshold <= 1:
        raise ValueError(f'threshold is {threshold}; allowed: a score from 0 to 1')
