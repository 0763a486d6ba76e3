"""The LoMaR pretraining model (Local Masked Reconstruction, arXiv 2206.00790).

Shapes: B images, W windows per image, K x K patches per window, M masked patches per window, D
channels per token.
"""

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from lomar.models.inputs import check_channels
from lomar.models.patches import Images, cut_patches, map_sizes, patch_coordinates
from lomar.models.targets import InputFormat
from lomar.models.vit import LoMaRViT
from lomar.models.windows import WindowSampler, build_samplers, masked_indices


@MODELS.register_module()
class LoMaR(BaseModel):
    """Model that reconstructs masked patches of a few small windows with a plain encoder.

    Images are (B, C, H, W), or a list of (C, H, W) if sizes differ. Methods take windows of one
    size; with several window sizes, `draw` returns a pair of windows and masks per size.

    Args:
        backbone: config of a `LoMaRViT`.
        windows: size, number, mask_ratio, sampling, masking; the first three may be lists. See
            `lomar.models.windows.build_samplers`.
        head: config of a `WindowHead` with its target, or of a `WindowPixelHead`; `embed_dim` and
            `inputs` are added.
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
        if not isinstance(self.backbone, LoMaRViT):
            raise ValueError(
                f'backbone.type is {type(self.backbone).__name__}, which cannot encode windows; '
                'LoMaR allows: LoMaRViT'
            )
        check_channels(self)
        self.samplers = build_samplers(**windows)
        for sampler in self.samplers:
            sampler.check(self.backbone.grid(self.backbone.img_size))
        normalisation = {k: v for k, v in (data_preprocessor or {}).items() if k in ('mean', 'std')}
        inputs = InputFormat(
            self.backbone.patch_size,
            self.backbone.in_channels,
            img_size=self.backbone.img_size,
            **normalisation,
        )
        self.head = MODELS.build({**head, 'embed_dim': self.backbone.embed_dim, 'inputs': inputs})

    def forward(self, inputs: Images, data_samples: list | None = None, mode: str = 'tensor'):
        """Return the loss (`mode='loss'`) or the backbone's features of whole images ('tensor')."""
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(f"mode is '{mode}'; LoMaR allows: loss, tensor")

    def loss(self, images: Images) -> dict[str, Tensor]:
        """Return the mean loss of the masked patches of freshly drawn windows (section 3)."""
        predictions, coordinates = [], []
        for sampler, (windows, masked) in zip(self.samplers, self.draw(images), strict=True):
            index = masked_indices(masked, sampler.num_masked)  # (B, W, M)
            tokens = self._encode(images, windows, masked, sampler.size)  # (B, W, K*K, D)
            masked_tokens = tokens.take_along_dim(index[..., None], dim=2)
            predictions.append(self.head(masked_tokens).flatten(1, 2))  # (B, W*M, dim)
            patches = torch.stack(patch_coordinates(windows, sampler.size))  # (2, B, W, K*K)
            coordinates.append(patches.take_along_dim(index[None], dim=-1).flatten(2))
        # Call the target once for all window sizes, because it may encode whole images.
        target = map_sizes(self.head.target, images, *torch.cat(coordinates, dim=2))
        loss = self.head.target.patch_loss(torch.cat(predictions, dim=1), target)
        return {'loss': loss.mean()}

    def draw(
        self, images: Images, generator: torch.Generator | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Draw windows and masks of every window size.

        Args:
            generator: random generator; its device may differ from the device of the images.

        Returns:
            Per window size: windows (B, W, 2) int64, the grid row and column of the top-left patch;
            and masked (B, W, K*K) bool, True = reconstruct.

        Raises:
            ValueError: the model does not support the images, or they are smaller than a window.
        """
        return [self._draw(sampler, images, generator) for sampler in self.samplers]

    def sample(
        self, images: Images, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw windows and masks of a model with one window size; see `draw`."""
        self._size(None, 'call draw(images)')
        return self.draw(images, generator)[0]

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
        """Cut the patches of windows (B, W, 2) out of images: (B, W, K*K, P*P*C).

        Args:
            size: K; None = the only window size of the model.
        """
        size, patch_size = self._size(size), self.backbone.patch_size

        def cut(batch: Tensor, windows: Tensor) -> Tensor:
            self.backbone.check_images(batch)
            return cut_patches(batch, windows, size, patch_size)

        return map_sizes(cut, images, windows)

    def predict(
        self, images: Images, windows: Tensor, masked: Tensor, size: int | None = None
    ) -> Tensor:
        """Predict all patches of the windows: (B, W, K*K, dim of the target)."""
        return self.head(self._encode(images, windows, masked, size))

    def window_loss(
        self, images: Images, pred: Tensor, windows: Tensor, masked: Tensor, size: int | None = None
    ) -> Tensor:
        """Return the mean loss of the masked patches of `pred` (B, W, K*K, dim of the target)."""
        rows, columns = patch_coordinates(windows, self._size(size))
        target = map_sizes(self.head.target, images, rows.flatten(1), columns.flatten(1))
        loss = self.head.target.patch_loss(pred.flatten(1, 2), target)
        return loss[masked.flatten(1)].mean()

    def _encode(self, images: Images, windows: Tensor, masked: Tensor, size: int | None) -> Tensor:
        return self.backbone.encode_windows(self.cut(images, windows, size), masked)

    def _size(self, size: int | None, advice: str = 'pass size=') -> int:
        """Return `size`, or the only window size of the model."""
        if size is None and len(self.samplers) > 1:
            sizes = ', '.join(str(sampler.size) for sampler in self.samplers)
            raise ValueError(f'the model has several window sizes ({sizes}); {advice}')
        return self.samplers[0].size if size is None else size
