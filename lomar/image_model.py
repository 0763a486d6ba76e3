"""Base of `Detector`, `Classifier` and `Segmentor`: a trained model for images of any type."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from itertools import islice
from os.path import expanduser
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import TRANSFORMS

from lomar.checkpoints.files import naming
from lomar.checkpoints.inferencers import registered_types_only
from lomar.checkpoints.trained_model import TrainedModel, trained_model
from lomar.datasets.any_image import AnyImage, check_listed, model_pixels
from lomar.datasets.color import array_to_rgb
from lomar.datasets.load_image import LoadImage
from lomar.datasets.pixel_file import ArrayFile, PixelFile
from lomar.datasets.renamed_loaders import loads_whole_images
from lomar.datasets.rgb_parts import open_rgb
from lomar.datasets.unreadable import reasons
from lomar.utils import check_least

ANY_IDS = dict(img_id=0, sample_idx=0)  # which some pipelines expect
WANTED = dict(
    detector='lomar.Detector takes detectors',
    classifier='lomar.Classifier takes classifiers',
    segmentor='lomar.Segmentor takes segmentors',
)
INSTEAD = dict(
    detector='use lomar.Detector',
    classifier='use lomar.Classifier',
    segmentor='use lomar.Segmentor',
    pretraining='train a detector or a classifier from it, or use lomar.Encoder for features',
)


class Loaded(NamedTuple):
    """Image that is ready for a model.

    Attributes:
        sample: the sample of the test pipeline.
        height, width: size of the upright image in pixels.
    """

    sample: dict
    height: int
    width: int


class ImageModel:
    """Model of a training run with the pipeline of its test: the pixels of `lomar test`.

    Args:
        checkpoint: checkpoint of a training run, which stores its config; or a result of
            `lomar.checkpoints.trained_model`, which has its own device and weights.
        device: PyTorch device; None = a GPU if there is one.
        weights: 'plain', or 'ema' for the moving average in the file.
        value_range: values of black and white in images of other than 8 bits; None = those of the
            training.

    Attributes:
        kind: kind of the model, 'detector', 'classifier' or 'segmentor'.
        classes: class names in the order of the labels.
        reads_arrays: whether `.npy` files are images for the model.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file is no checkpoint of a training run or its model is of another kind.
    """

    kind: ClassVar[str]

    def __init__(
        self,
        checkpoint: str | Path | TrainedModel,
        device: str | torch.device | None = None,
        weights: str = 'plain',
        value_range: Sequence[float] | None = None,
    ):
        if not isinstance(checkpoint, TrainedModel):
            checkpoint = trained_model(checkpoint, weights, device)
        self.trained, self.classes = checkpoint, checkpoint.classes
        with naming(checkpoint.path):
            found = self.trained.kind
            if found != self.kind:
                article = 'a model of a pretraining' if found == 'pretraining' else f'a {found}'
                raise ValueError(f'the model is {article}; {WANTED[self.kind]}: {INSTEAD[found]}')
            steps = _test_steps(self.trained.config)
            if value_range is not None:
                _set_range(steps[0], value_range)
            with registered_types_only(self.trained.config.get('default_scope')):
                self._loader = TRANSFORMS.build(steps[0])
                self._rest = Compose(steps[1:])
        self.reads_arrays = getattr(self._loader, 'reads_arrays', False)

    def load(self, image: AnyImage) -> Loaded:
        """Return an image of any type as the test pipeline makes it.

        Raises:
            TypeError, ValueError: the argument is not an image, or the model does not support it.
            UnreadableImage: a file is missing or damaged.
        """
        path = expanduser(image) if isinstance(image, (str, Path)) else None
        ours = isinstance(self._loader, LoadImage)
        sample: dict[str, Any] = dict(ANY_IDS, img_path=path)
        if path is not None and not ours:
            with reasons(path):  # mmcv raises errors of many types
                sample = self._loader(sample)
        elif ours:
            sample = self._loader(
                sample if path is not None else dict(sample, img=self._in_bgr(image))
            )
        else:
            pixels = self._in_bgr(image)
            if getattr(self._loader, 'to_float32', False):
                pixels = pixels.astype(np.float32)
            sample |= dict(img=pixels, img_shape=pixels.shape[:2], ori_shape=pixels.shape[:2])
        height, width = sample['ori_shape'][:2]
        return Loaded(self._rest(sample), height, width)

    def _given(self, image: AnyImage) -> np.ndarray:
        """Return an image in memory as an array that the model takes, with its own numbers."""
        if not isinstance(self._loader, LoadImage):
            return model_pixels(image, 3, rgb=True)
        own = self._loader
        return model_pixels(image, own.channels, own.convert, own.value_range)

    def _in_bgr(self, image: AnyImage) -> np.ndarray:
        """Return an image in memory as OpenMMLab hands over arrays: in the order B, G, R."""
        pixels, own = self._given(image), self._loader
        if getattr(own, 'convert', True):
            pixels = array_to_rgb(pixels, getattr(own, 'value_range', None))
        three = pixels.shape[2:] == (3,)
        return np.ascontiguousarray(pixels[..., ::-1]) if three else pixels

    @contextmanager
    def open(self, image: AnyImage) -> Iterator[PixelFile]:
        """Open an image to read parts of it, as arrays that the model takes as images.

        Only the requested parts are decoded of arrays and of most TIFF files, see `open_pixels` and
        `open_rgb`; other files are decoded once, whole.
        """
        ours = isinstance(self._loader, LoadImage)
        if isinstance(image, (str, Path)):
            with self._loader.open(image) if ours else open_rgb(image) as file:
                yield file
        else:
            yield ArrayFile('an array', self._given(image))

    @torch.no_grad()
    def predict(self, images: Sequence[Loaded]) -> list[Any]:
        """Return the predictions of the model for a batch of loaded images."""
        sizes = {image.sample['inputs'].shape for image in images}
        if self.trained.kind != 'detector' and len(sizes) > 1:  # which would be padded
            return [self.predict([image])[0] for image in images]
        model: Any = self.trained.model  # of mmdet, mmpretrain or mmseg
        return model.test_step(pseudo_collate([image.sample for image in images]))

    def predict_all(self, images: Iterable[AnyImage], batch_size: int) -> Iterator[Any]:
        """Yield the prediction of each image; `batch_size` images are loaded at a time."""
        check_listed(images)
        check_least(type(self).__name__, batch_size=batch_size)
        rest = iter(images)
        while batch := [self.load(image) for image in islice(rest, batch_size)]:
            yield from self.predict(batch)


def _test_steps(config: ConfigDict) -> list[ConfigDict]:
    """Return a copy of the steps of the test pipeline, the first of which loads an image."""
    dataset = (config.get('test_dataloader') or {}).get('dataset') or {}
    while 'pipeline' not in dataset and ('dataset' in dataset or dataset.get('datasets')):
        dataset = dataset['dataset'] if 'dataset' in dataset else dataset['datasets'][0]
    steps = deepcopy(dataset.get('pipeline'))
    if not steps or 'Load' not in str(steps[0].get('type')):
        raise ValueError(
            'test_dataloader.dataset of the stored config has no pipeline that begins with a '
            'loader; allowed: the checkpoint of a run whose config has one'
        )
    if config.get('default_scope') == 'mmseg':  # its steps fail without a mask
        steps = [step for step in steps if step.get('type') != 'LoadAnnotations']
    return list(steps)


def _set_range(step: ConfigDict, value_range: Sequence[float]) -> None:
    if not loads_whole_images(step):
        raise ValueError(f'value_range has no effect on {step.type}; allowed: with LoadImage')
    step.value_range = value_range
