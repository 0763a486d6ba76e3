"""Pictures while a model trains."""

from itertools import islice
from pathlib import Path

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.visualization import LocalVisBackend
from PIL import Image

from lomar.datasets import is_readable, list_images, read_pixels, read_rgb
from lomar.engine.hooks import unwrapped
from lomar.visualization.reconstruction import read_batch, reconstruct, sheet


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Save a picture of the same reconstructed images every `interval` iterations and at the end.

    Args:
        images: folder or text list of images; None for those of the training set.
        number: images in the picture, the first that can be read.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 1000, images: str | None = None, number: int = 8):
        if interval < 1:
            raise ValueError(f'ReconstructionHook.interval is {interval}; allowed: 1 or more')
        self.interval, self.images, self.number = interval, images, number

    def before_train(self, runner) -> None:
        """Read the images, so that a wrong path shows before the first step."""
        model = unwrapped(runner)
        dataset = runner.train_dataloader.dataset
        # As the pipeline reads them: `LoadChannels` and its like say how many there must be.
        as_stored = any(hasattr(step, 'channels') for step in dataset.pipeline.transforms)
        read = read_pixels if as_stored else read_rgb
        paths = list_images(self.images or dataset.data_root)
        readable = list(islice((path for path in paths if is_readable(path, read)), self.number))
        self.batch = read_batch(readable, model.backbone.img_size, as_stored)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draw at the interval."""
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            # In all processes: a sharded model cannot run in one alone.
            self._save(runner, sheet(reconstruct(unwrapped(runner), self.batch, seed=0)))

    @master_only
    def _save(self, runner, picture: Image.Image) -> None:
        path = Path(runner.work_dir) / 'reconstructions' / f'iter_{runner.iter + 1:07d}.png'
        path.parent.mkdir(exist_ok=True)
        picture.save(path)
        for backend in runner.visualizer._vis_backends.values():
            if not isinstance(backend, LocalVisBackend):  # would save the same file again
                backend.add_image('reconstructions', np.asarray(picture), step=runner.iter + 1)
