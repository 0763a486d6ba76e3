"""Hook that evaluates frozen features with kNN and a linear probe during pretraining."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any

import torch
from mmengine.dist import is_main_process, master_only
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor, nn

from lomar.compat.dist import main_process
from lomar.datasets.class_folders import FixedSizeImages, split_folder
from lomar.datasets.color import check_value_range
from lomar.engine.distributed import SHARDED, is_sharded
from lomar.engine.probe import knn_predict, linear_logits, top1
from lomar.models.vit import RPEViT
from lomar.utils import check_least, undisturbed, unwrapped


@HOOKS.register_module()
class ProbeHook(Hook):
    """Classify labelled images by frozen features every `interval` epochs and after the last.

    Features are the mean patch tokens of whole images at the backbone's `img_size`, in float32.
    The hook writes the top-1 accuracies (percent) of nearest neighbours and of a linear classifier,
    and the seconds of the probe, to the log, `scalars.json` and the message hub. In distributed
    training only the main process computes the probe; the others wait for at most
    `env_cfg.main_process_minutes`. The probe does not affect the training. Wrong settings, another
    layout of the folder and damaged images raise an error before the first step.

    Args:
        images: folder of class folders, or folder with `train` and `val`, both with class folders.
        interval: number of epochs between probes.
        k, temperature: see `lomar.engine.probe.knn_predict`.
        l2: see `lomar.engine.probe.linear_logits`.
        val_share, seed: see `lomar.datasets.class_folders.split_folder`.
        batch_size: images per forward pass.
        max_memory: main memory in GB for the images as uint8. If they need more, they are read from
            the files in every probe.
        value_range: see `lomar.datasets.read_rgb`; a `value_range` of the config is set here, too.
    """

    priority = 'LOW'  # before the checkpoint is written, which holds the message hub

    def __init__(
        self,
        images: str,
        interval: int = 10,
        k: int = 20,
        temperature: float = 0.07,
        l2: float = 1e-3,
        val_share: float = 0.2,
        seed: int = 0,
        batch_size: int = 64,
        max_memory: float = 2.0,
        value_range: Sequence[float] | None = None,
    ):
        check_value_range('ProbeHook', value_range, convert=True)
        check_least('ProbeHook', interval=interval, k=k, batch_size=batch_size)
        for name, value in dict(temperature=temperature, l2=l2).items():
            if value <= 0:
                raise ValueError(f'ProbeHook.{name} is {value}; allowed: more than 0')
        if not 0 < val_share < 1:
            raise ValueError(f'ProbeHook.val_share is {val_share}; allowed: between 0 and 1')
        self.folder, self.interval, self.batch_size = images, interval, batch_size
        self.k, self.temperature, self.l2 = k, temperature, l2
        self.val_share, self.seed, self.max_memory = val_share, seed, max_memory
        self.value_range = value_range

    def before_train(self, runner) -> None:
        """Read the images, so that errors occur before the first step."""
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                'ProbeHook.interval counts epochs, and train_cfg counts iterations; allowed: '
                "train_cfg.type='EpochBasedTrainLoop'"
            )
        if is_sharded(runner.model):
            raise ValueError(
                'ProbeHook runs the model in one process, and model_wrapper_cfg.type is '
                f"'{SHARDED}', which needs all of them; remove one of the two"
            )
        classes, train, val = split_folder(
            self.folder, self.val_share, self.seed, arrays=self.value_range is not None
        )
        if len(train) < self.k:
            raise ValueError(
                f'ProbeHook.k is {self.k}, and there are {len(train)} images of {self.folder} to '
                'train on; allowed: at most their number'
            )
        if not val:
            raise ValueError(f'ProbeHook.images: {self.folder} leaves no image to test on')
        if is_main_process():
            self._read(runner, len(classes), train, val)
        main_process.wait('ProbeHook: reading images')

    def _read(self, runner, classes: int, train: list, val: list) -> None:
        start = perf_counter()
        paths, labels = zip(*train, *val, strict=True)
        model = unwrapped(runner.model)
        check_backbone(model)
        size = model.backbone.img_size
        with undisturbed(model):  # errors are raised before the training
            encode(model, torch.zeros(1, 3, *size, dtype=torch.uint8))
        self.labels, self.num_train = torch.tensor(labels), len(train)
        self.images = FixedSizeImages(paths, size, self.max_memory * 1e9, self.value_range)
        kept = 'kept' if self.images.kept is not None else 'more than max_memory, not kept'
        runner.logger.info(
            f'ProbeHook: {len(train)} images of {classes} classes to train on, {len(val)} to test '
            f'on, {self.images.bytes / 1e6:.1f} MB ({kept}), read in '
            f'{perf_counter() - start:.1f} s'
        )

    def after_train_epoch(self, runner) -> None:
        """Run the probe at the interval and after the last epoch."""
        if self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner):
            self._probe(runner)
            main_process.wait('ProbeHook')

    @master_only
    def _probe(self, runner) -> None:
        start = perf_counter()
        with undisturbed(unwrapped(runner.model)) as model:
            scores = self.scores(model)
        seconds = perf_counter() - start
        runner.logger.info(
            f'Epoch {runner.epoch + 1}: kNN {scores["knn"]:.2f} %, linear probe '
            f'{scores["linear"]:.2f} % (top-1 of {len(self.labels) - self.num_train} images, '
            f'{seconds:.1f} s)'
        )
        scalars = {f'probe/{name}': value for name, value in {**scores, 'seconds': seconds}.items()}
        for name, value in scalars.items():
            runner.message_hub.update_scalar(name, value)
        runner.visualizer.add_scalars({**scalars, 'epoch': runner.epoch + 1}, step=runner.iter)

    def scores(self, model: nn.Module) -> dict[str, float]:
        """Return top-1 accuracy in percent per classifier; NaN if features are not finite."""
        parts = [encode(model, images) for images in self.images.batches(self.batch_size)]
        features = torch.cat(parts)
        if not features.isfinite().all():
            return dict(knn=float('nan'), linear=float('nan'))
        train, test = features[: self.num_train], features[self.num_train :]
        seen, true = self.labels[: self.num_train], self.labels[self.num_train :]
        neighbours = knn_predict(train, seen, test, self.k, self.temperature).cpu()
        linear = linear_logits(train, seen, test, self.l2).argmax(dim=1).cpu()
        return dict(knn=top1(neighbours, true), linear=top1(linear, true))


def check_backbone(model: nn.Module) -> None:
    """Raise a ValueError if `encode` does not support the model."""
    backbone: Any = getattr(model, 'backbone', None)
    if not (isinstance(backbone, RPEViT) or _is_mae(backbone)) or backbone.out_type != 'raw':
        raise ValueError(
            f'ProbeHook cannot encode whole images with a {type(model).__name__} whose backbone is '
            f'a {type(backbone).__name__}; allowed: RPEViT, LoMaRViT and MAEViT with '
            "out_type='raw'"
        )


@torch.no_grad()
def encode(model: BaseModel, images: Tensor) -> Tensor:
    """Return mean patch tokens (B, D) of R, G, B images (B, 3, H, W) uint8."""
    preprocessor, backbone = model.data_preprocessor, model.backbone
    if getattr(preprocessor, '_channel_conversion', False):
        images = images.flip(1)  # the preprocessor expects B, G, R and swaps the channels
    inputs = preprocessor(dict(inputs=images, data_samples=None))['inputs']
    if _is_mae(backbone):
        # mask=None encodes whole images; mask=False masks patches, contrary to its documentation.
        return backbone(inputs, mask=None)[-1][:, 1:].mean(dim=1)
    return backbone(inputs)[0][:, int(backbone.with_cls_token) :].mean(dim=1)


def _is_mae(backbone: nn.Module) -> bool:
    if isinstance(backbone, RPEViT):
        return False
    from mmpretrain.models import MAEViT  # slow to import, and there if this is one

    return isinstance(backbone, MAEViT)
