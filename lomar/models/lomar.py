"""Local Masked Reconstruction (arXiv 2206.00790): the algorithm."""

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor

from lomar.models.windows import WindowSampler, cut_patches, masked_indices


@MODELS.register_module()
class LoMaR(BaseModel):
    """Reconstruct the masked patches of a few small windows with a plain encoder and a linear head.

    Args:
        backbone: config of a `LoMaRViT`.
        windows: size, number, mask_ratio, sampling; see `lomar.models.windows.WindowSampler`.
        head: config of a head such as `WindowPixelHead`; its sizes are filled in from the backbone.

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
        self.windows = WindowSampler(**windows)
        self.windows.check(self.backbone.grid(self.backbone.img_size))
        patch_pixels = self.backbone.patch_size**2 * self.backbone.in_channels
        self.head = MODELS.build(
            {**head, 'embed_dim': self.backbone.embed_dim, 'patch_pixels': patch_pixels}
        )

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor'):
        """Loss by name (`mode='loss'`) or the backbone's features of whole images ('tensor')."""
        if mode == 'loss':
            return self.loss(inputs)
        if mode == 'tensor':
            return self.backbone(inputs)
        raise ValueError(f"mode is '{mode}'; LoMaR allows: loss, tensor")

    def loss(self, images: Tensor) -> dict[str, Tensor]:
        """Reconstruction loss on freshly drawn windows of images (B, C, H, W)."""
        windows, masked = self.sample(images)
        patches = self.cut(images, windows)
        latent = self.backbone.encode_windows(patches, masked)
        hidden = masked_indices(masked, self.windows.num_masked)[..., None]
        prediction = self.head(latent.take_along_dim(hidden, dim=2))
        target = patches.take_along_dim(hidden, dim=2)
        return {'loss': self.head.patch_loss(prediction, target).mean()}

    def sample(
        self, images: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Draw windows and masks for images (B, C, H, W).

        Args:
            generator: source of randomness; its device may differ from the images'.

        Returns:
            windows (B, W, 2) int64, grid row and column of the top-left patch;
            masked (B, W, K*K) bool, True = reconstruct.

        Raises:
            ValueError: images that the model cannot take, or too small for the windows.
        """
        grid = self.backbone.check_images(images)
        device = images.device if generator is None else generator.device
        windows, masked = self.windows(len(images), grid, generator, device)
        return windows.to(images.device), masked.to(images.device)

    def cut(self, images: Tensor, windows: Tensor) -> Tensor:
        """Patches of the windows: (B, C, H, W), (B, W, 2) -> (B, W, K*K, P*P*C)."""
        return cut_patches(images, windows, self.windows.size, self.backbone.patch_size)

    def predict(self, images: Tensor, windows: Tensor, masked: Tensor) -> Tensor:
        """Predict every patch of the windows, masked or not: (B, W, K*K, P*P*C)."""
        self.backbone.check_images(images)
        return self.head(self.backbone.encode_windows(self.cut(images, windows), masked))

    def window_loss(self, images: Tensor, pred: Tensor, windows: Tensor, masked: Tensor) -> Tensor:
        """Mean loss of the masked patches of a prediction (B, W, K*K, P*P*C)."""
        return self.head.patch_loss(pred, self.cut(images, windows))[masked].mean()
