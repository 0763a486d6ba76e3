"""Features of images in Python, from a checkpoint without a config."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lomar.checkpoints import load_file, rename, transfer_backbone, unwrap
from lomar.checkpoints.architecture import read_architecture
from lomar.checkpoints.files import naming
from lomar.checkpoints.normalization import normalization
from lomar.checkpoints.trained_settings import (
    HEADS,
    trained_config,
    trained_rpe,
    trained_settings,
    trained_size,
)
from lomar.datasets.any_image import AnyImage, check_listed
from lomar.datasets.color import check_value_range
from lomar.datasets.model_input import ModelInput
from lomar.datasets.reading import Reading, training_reading
from lomar.models.vit import RPEViT
from lomar.utils import check_least

MAX_PATCHES = 64 * 14**2  # per forward pass: those of 64 images of 224 pixels, patches of 16


@dataclass
class Features:
    """Features of N images, on the CPU in float32.

    Attributes:
        pooled: (N, D), mean of the patch features, after `fc_norm` if the weights contain it.
        patches: (N, D, H/P, W/P), or a list of N tensors (D, H/P, W/P) if sizes differ or N is 0;
            None with `patches=False`.
    """

    pooled: Tensor
    patches: Tensor | list[Tensor] | None


class Encoder:
    """Pretrained or fine-tuned vision transformer that embeds images.

    Checkpoints may be from this package, the original LoMaR and MAE code, mmpretrain's MAE or timm.
    The architecture is read from the weights.

    Args:
        path: checkpoint, .safetensors file, folder of `lomar publish`, or hf://ORG/NAME.
        device: PyTorch device; None = a GPU if there is one.
        num_heads: number of heads; required if neither the config in the checkpoint nor the weights
            nor a standard width and depth determine the number.
        rpe: options of `lomar.models.rpe.build_rpe`, if method or ratio differ from LoMaR's and the
            checkpoint stores no config.
        mean, std: one number per channel in pixel units. Without `value_range`, images may then
            have any real dtype, and their numbers are not converted, except in files that the
            training converted to 8-bit RGB. None = those of timm's config.json in the folder, or
            else ImageNet's, for 8-bit RGB images; an error if the config in the checkpoint has
            others.
        weights: 'plain', or 'ema' for the moving average in the file.
        value_range: values of black and white in images of other than 8 bits, which are converted
            to 8-bit RGB; None = those of the config in the checkpoint, if it has them.

    Attributes:
        backbone: the `RPEViT`.
        input: how images are read and converted.
        report: report of every weight, see `lomar.checkpoints.Report`.
        trained_size: (height, width) in pixels of the images in training; None if neither a stored
            config nor absolute positions tell it.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the weights are from another kind of model or do not determine the
            architecture, or a weight was not loaded (`TransferError`).
    """

    def __init__(
        self,
        path: str | Path,
        device: str | torch.device | None = None,
        num_heads: int | None = None,
        rpe: dict | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        weights: str = 'plain',
        value_range: Sequence[float] | None = None,
    ):
        content = load_file(path)
        with naming(path):
            named, trained = rename(unwrap(content, weights)), trained_settings(content)
            heads = trained.get(HEADS) if num_heads is None else num_heads
            positions = trained_rpe(trained) | (rpe or {})
            settings = read_architecture(named, heads, positions).backbone
            backbone = RPEViT(**{**settings, 'out_type': 'featmap'})
            self.report = transfer_backbone(named, backbone)
            self.input = _input(content, backbone, mean is None and std is None, value_range)
            numbers = normalization(content, backbone.in_channels, mean, std)
            self.trained_size = trained_size(content)
            if self.trained_size is None and settings['position'] == 'absolute':
                self.trained_size = backbone.img_size
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        self.mean, self.std = (each.to(self.device) for each in numbers)
        self.backbone = backbone.to(self.device).eval()
        self.fc_norm: nn.Module = nn.Identity()
        if 'fc_norm.weight' in named:
            self.fc_norm = nn.LayerNorm(backbone.embed_dim, eps=1e-6, device=self.device)
            loaded = [f'fc_norm.{key}' for key in self.fc_norm.state_dict()]
            self.fc_norm.load_state_dict({n.removeprefix('fc_norm.'): named[n] for n in loaded})
            self.report.left_out = [n for n in self.report.left_out if n not in loaded]
            self.report.matched += loaded

    @torch.no_grad()
    def __call__(
        self,
        images: Iterable[AnyImage],
        batch_size: int = 64,
        size: int | tuple[int, int] | None = None,
        patches: bool = True,
    ) -> Features:
        """Embed images.

        Args:
            images: paths, PIL images, arrays (H, W) or (H, W, C), or tensors (C, H, W). With `rgb`,
                arrays and tensors are uint8, unless there is a `value_range`, and four channels are
                R, G, B and alpha. Grey images have one channel for a model of one channel, and
                three equal channels for a model of RGB.
            batch_size: number of images in a batch at most. Of large images, a batch has fewer: up
                to `MAX_PATCHES` patches, or one image.
            size: (height, width) or side in pixels to which images are resized and cropped;
                None = native size, cropped to whole patches.
            patches: False omits the patch features, which take most of the memory.

        Raises:
            TypeError, ValueError: an entry is not an image, or the model does not support it.
            UnreadableImage: a file is missing or damaged.
        """
        check_listed(images)
        check_least('Encoder', batch_size=batch_size)
        self.input.sides(size)
        pooled, maps = [], []
        read = ((None, self.read(image, size)) for image in images)
        for batch in self.batches(read, batch_size):
            for vector, grid in self._embed([image for _, image in batch]):
                pooled.append(vector)
                if patches:
                    maps.append(grid)
        vectors = torch.stack(pooled) if pooled else torch.zeros(0, self.backbone.embed_dim)
        stacked = torch.stack(maps) if len({each.shape for each in maps}) == 1 else maps
        return Features(vectors, stacked if patches else None)

    def read(self, image: AnyImage, size: int | tuple[int, int] | None = None) -> Tensor:
        """Return an image as the model gets it before normalization, (C, H, W) uint8 or float32.

        It is resized and cropped as `__call__` does, which accepts the result and raises the same
        errors.
        """
        return self.input.read(image, size)

    def batches(
        self, images: Iterable[tuple[Any, Tensor]], batch_size: int
    ) -> Iterator[list[tuple[Any, Tensor]]]:
        """Yield lists of results of `read`, each with its name or None, that fit in one batch."""
        batch: list[tuple[Any, Tensor]] = []
        patches = 0
        for name, image in images:
            number = self.num_patches(image)
            if batch and (len(batch) == batch_size or patches + number > MAX_PATCHES):
                yield batch
                batch, patches = [], 0
            batch.append((name, image))
            patches += number
        if batch:
            yield batch

    def num_patches(self, image: Tensor) -> int:
        """Return the number of patches of an image (C, H, W) that `read` returned."""
        height, width = image.shape[1:]
        rows, columns = self.backbone.grid((height, width), 'size')
        return rows * columns

    def _embed(self, images: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return pooled and patch features of each image; images of one size form a batch."""
        groups = defaultdict(list)
        features: dict[int, tuple[Tensor, Tensor]] = {}
        for index, image in enumerate(images):
            groups[image.shape, image.dtype].append(index)
        for indices in groups.values():
            batch = self._encode(torch.stack([images[index] for index in indices]))
            features |= zip(indices, zip(*batch, strict=True), strict=True)
        return [features[index] for index in range(len(images))]

    def _encode(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Return pooled and patch features of images (B, C, H, W)."""
        mean, std = self.mean.view(-1, 1, 1), self.std.view(-1, 1, 1)
        (maps,) = self.backbone((batch.to(self.device) - mean) / std)
        return self.fc_norm(maps.mean(dim=(2, 3))).cpu(), maps.cpu()


def _input(
    content: object, backbone: RPEViT, usual: bool, value_range: Sequence[float] | None
) -> ModelInput:
    """Return how images are read: files as the training in a checkpoint read them.

    Args:
        usual: whether mean and standard deviation are those of 8-bit RGB.
        value_range: None = that of the training.
    """
    trained = training_reading(trained_config(content)) or Reading(convert=False)
    value_range = trained.value_range if value_range is None else value_range
    rgb = usual or (value_range is not None and backbone.in_channels == 3)
    check_value_range('Encoder', value_range, rgb)
    reading = Reading(backbone.in_channels, rgb or trained.convert, value_range)
    return ModelInput(reading, rgb, backbone.patch_size)
