"""Classes of images in Python, from the checkpoint of a training run."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lomar.datasets.any_image import AnyImage
from lomar.image_model import ImageModel
from lomar.utils import check_least


class Classes(NamedTuple):
    """The K most likely classes of one image, in decreasing order of score.

    Attributes:
        names: class names.
        scores: (K,) float32, from 0 to 1.
        labels: (K,) int64, indices of the model's classes.
    """

    names: list[str]
    scores: np.ndarray
    labels: np.ndarray


class Classifier(ImageModel):
    """Classifier of a training run: images to classes and scores.

    Arguments, attributes and errors are those of `lomar.image_model.ImageModel`.
    """

    kind = 'classifier'

    def __call__(
        self, images: Iterable[AnyImage], top_k: int = 5, batch_size: int = 1
    ) -> list[Classes]:
        """Return the classes of each image; with `batch_size=1`, those of `lomar test`, to the bit.

        Args:
            images: paths, PIL images, arrays (H, W) or (H, W, C) in the order R, G, B or R, G, B,
                alpha, or tensors (C, H, W); files are read as in the training.
            top_k: K, at most the number of classes.
            batch_size: number of images per forward pass.

        Raises:
            TypeError, ValueError: an entry is not an image, or the model does not support it.
            UnreadableImage: a file is missing or damaged.
        """
        check_least('Classifier', top_k=top_k)
        return [self.best(found, top_k) for found in self.predict_all(images, batch_size)]

    def best(self, found: Any, top_k: int) -> Classes:
        """Return the best classes of a prediction, mmpretrain's `DataSample`."""
        scores = found.pred_score.float().cpu()
        order = scores.argsort(descending=True, stable=True)[:top_k]
        names = [self.trained.name(label) for label in order.tolist()]
        return Classes(names, scores[order].numpy(), order.numpy())
