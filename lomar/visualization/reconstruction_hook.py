"""Hook that saves reconstructions during training."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.visualization import LocalVisBackend
from PIL import Image
from torch import Tensor

from lomar.datasets import UnreadableImage, list_images
from lomar.datasets.folder_walk import mark_pictures
from lomar.datasets.replay import seed_everything
from lomar.utils import check_least, inner_datasets, undisturbed, unwrapped
from lomar.visualization.reconstruction import reconstruct, sheet

MAX_CELL = 512  # largest side of a picture in pixels; larger pictures are shrunk


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Hook that saves reconstructions of the same images every `interval` steps and at the end.

    The training pipeline loads the images, so that the pictures show crops, regions or whole images
    as in training.

    Args:
        images: folder or text list of images; None = the training images.
        number: number of images in a picture; the first readable files are used.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 1000, images: str | None = None, number: int = 8):
        check_least('ReconstructionHook', interval=interval, number=number)
        self.interval, self.images, self.number = interval, images, number

    def before_train(self, runner) -> None:
        """Read the images, so that a wrong path is an error before the first step."""
        dataset = next(inner_datasets(runner.train_dataloader.dataset))
        root = self.images or dataset.data_root
        with undisturbed(unwrapped(runner.model)):  # keep the training's RNG state
            self.batch = self._load(list_images(root, dataset.arrays), dataset.pipeline)

    def _load(self, paths: list[str], pipeline: Callable) -> list[Tensor]:
        images = []
        for index, path in enumerate(paths):
            seed_everything((0, index))
            try:
                sample = pipeline(dict(img_path=path))['inputs']
            except UnreadableImage:
                continue
            images += sample.view(-1, *sample.shape[-3:])  # an image or several regions
            if len(images) >= self.number:
                break
        if not images:
            raise ValueError(
                f'ReconstructionHook.images: none of {len(paths)} images can be read, such as '
                f'{paths[0]}'
            )
        return images[: self.number]

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner):
            # In all processes: a sharded model cannot run in one alone.
            rows = reconstruct(unwrapped(runner.model), self.batch, seed=0)
            self._save(runner, sheet(rows, MAX_CELL))

    @master_only
    def _save(self, runner, picture: Image.Image) -> None:
        path = Path(runner.work_dir) / 'reconstructions' / f'iter_{runner.iter + 1:07d}.png'
        mark_pictures(path.parent)
        picture.save(path)
        for backend in runner.visualizer._vis_backends.values():
            if not isinstance(backend, LocalVisBackend):  # would save the same file again
                backend.add_image('reconstructions', np.asarray(picture), step=runner.iter + 1)
