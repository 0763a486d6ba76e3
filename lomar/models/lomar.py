"""Local Masked Reconstruction (arXiv 2206.00790): the algorithm."""

import math

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from lomar.models.targets import PatchFormat
from lomar.models.windows import (
    Images,
    WindowSampler,
    build_samplers,
    cut_patches,
    map_sizes,
    masked_indices,
    patch_coordinates,
)

Tensors = Tensor | tuple[Tensor, ...]  # one for each window size, where there are several


@MODELS.register_module()
class LoMaR(BaseModel):
    """Reconstruct the masked patches of a few small windows with a plain encoder and a linear head.

    Images are (B, C, H, W), or a list of (C, H, W) where sizes differ. With several window sizes,
    windows, masks and predictions are tuples with one entry for each size.

    Args:
        backbone: config of a `LoMaRViT`.
        windows: size, number, mask_ratio, sampling, masking; the first three may be lists. See
            `lomar.models.windows.build_samplers`.
        head: config of a `WindowHead` with its target, or of a `WindowPixelHead`; what belongs to
            the backbone and to the images is filled in.

    Raises:
        ValueError: a setting out of range, by its config key.
    """

    def __init__(
        self,
        backbone: dict,
        windows: dict,
        head: dict,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = MODELS.build(backbone)
        self.samplers = build_samplers(**windows)
        for sampler in self.samplers:
            sampler.check(self.backbone.grid(self.backbone.img_size))
        normalisation = {k: v for k, v in (data_preprocessor or {}).items() if k in ('mean', 'std')}
        patches = PatchFormat(
            self.backbone.patch_size,
            self.backbone.in_channels,
            img_size=self.backbone.img_size,
            **normalisation,
        )
        self.head = MODELS.build({**head, 'embed_dim': self.backbone.embed_dim, 'patches': patches})

    def forward(self, inputs: Images, data_samples: list | None = None, mode: str = 'tensor'):
        """Loss by name (`mode='loss'`) or the backbone's features of whole images ('tensor')."""
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(f"mode is '{mode}'; LoMaR allows: loss, tensor")

    def loss(self, images: Images) -> dict[str, Tensor]:
        """Reconstruction loss on freshly drawn windows."""
        windows, masked = self.sample(images)
        predictions, places = [], []
        for sampler, corners, hides in zip(
            self.samplers, as_tuple(windows), as_tuple(masked), strict=True
        ):
            hidden = masked_indices(hides, sampler.num_masked)
            latent = self.backbone.encode_windows(self.cut(images, corners, sampler.size), hides)
            latent = latent.take_along_dim(hidden[..., None], dim=2)
            predictions.append(self.head(latent).flatten(1, 2))
            coordinates = torch.stack(patch_coordinates(corners, sampler.size))
            places.append(coordinates.take_along_dim(hidden[None], dim=-1).flatten(2))
        # One call for all sizes: a target may have to look at whole images.
        target = map_sizes(self.head.target, images, *torch.cat(places, dim=2))
        targets = target.split([place.shape[2] for place in places], dim=1)
        losses = map(self.head.target.patch_loss, predictions, targets)
        return {'loss': torch.cat(list(losses), dim=1).mean()}

    def sample(
        self, images: Images, generator: torch.Generator | None = None
    ) -> tuple[Tensors, Tensors]:
        """Draw windows and masks.

        Args:
            generator: source of randomness; its device may differ from the images'.

        Returns:
            windows (B, W, 2) int64, grid row and column of the top-left patch;
            masked (B, W, K*K) bool, True = reconstruct.

        Raises:
            ValueError: images that the model cannot take, or too small for the windows.
        """
        drawn = [self._draw(sampler, images, generator) for sampler in self.samplers]
        return drawn[0] if len(drawn) == 1 else tuple(zip(*drawn, strict=True))

    def _draw(
        self, sampler: WindowSampler, images: Images, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        def draw(batch: Tensor) -> tuple[Tensor, Tensor]:
            grid = self.backbone.check_images(batch)
            device = batch.device if generator is None else generator.device
            windows, masked = sampler(len(batch), grid, generator, device)
            return windows.to(batch.device), masked.to(batch.device)

        return map_sizes(draw, images)

    def cut(self, images: Images, windows: Tensor, size: int | None = None) -> Tensor:
        """Patches of windows (B, W, 2): (B, W, K*K, P*P*C).

        Args:
            size: K; None for that of the only kind of window.
        """
        size, patch_size = size or self._only().size, self.backbone.patch_size

        def cut(batch: Tensor, corners: Tensor) -> Tensor:
            self.backbone.check_images(batch)
            return cut_patches(batch, corners, size, patch_size)

        return map_sizes(cut, images, windows)

    def predict(self, images: Images, windows: Tensors, masked: Tensors) -> Tensors:
        """Predict every patch of the windows, masked or not: (B, W, K*K, dim of the target)."""
        if isinstance(windows, tuple):
            return tuple(self.predict(images, *each) for each in zip(windows, masked, strict=True))
        patches = self.cut(images, windows, math.isqrt(masked.shape[-1]))
        return self.head(self.backbone.encode_windows(patches, masked))

    def window_loss(
        self, images: Images, pred: Tensors, windows: Tensors, masked: Tensors
    ) -> Tensor:
        """Return the mean loss over masked patches of a prediction (B, W, K*K, dim of the target).

        Indexing with a mask synchronizes with the GPU; `loss` does not synchronize.
        """
        losses = []
        for one in zip(*map(as_tuple, (pred, windows, masked)), strict=True):
            prediction, corners, hides = one
            places = patch_coordinates(corners, math.isqrt(hides.shape[-1]))
            target = map_sizes(self.head.target, images, *(place.flatten(1) for place in places))
            loss = self.head.target.patch_loss(prediction.flatten(1, 2), target)
            losses.append(loss[hides.flatten(1)])
        return torch.cat(losses).mean()

    def _only(self) -> WindowSampler:
        if len(self.samplers) > 1:
            raise ValueError('windows have several sizes: say which')
        return self.samplers[0]


def as_tuple(tensors: Tensors) -> tuple[Tensor, ...]:
    """One entry for each window size."""
    return tensors if isinstance(tensors, tuple) else (tensors,)
