"""What is predicted for a masked patch, and how the prediction is judged."""

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class WindowPixelHead(BaseModule):
    """One linear layer from a token to its patch's pixels, judged by mean squared error.

    Args:
        embed_dim: width of the tokens; given by `LoMaR`.
        patch_pixels: values in a patch, P*P*C; given by `LoMaR`.
        norm_pix: predict pixels normalised by the mean and deviation of their patch (as MAE).
    """

    def __init__(self, embed_dim: int, patch_pixels: int, norm_pix: bool = True):
        super().__init__()
        self.norm_pix = norm_pix
        self.pred = nn.Linear(embed_dim, patch_pixels)
        nn.init.xavier_uniform_(self.pred.weight)
        nn.init.zeros_(self.pred.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Predict patches: (..., D) -> (..., P*P*C)."""
        return self.pred(tokens)

    def target(self, patches: Tensor) -> Tensor:
        """What to predict for patches (..., P*P*C) of normalised pixels."""
        if not self.norm_pix:
            return patches
        mean, deviation = self._statistics(patches)
        return (patches - mean) / deviation

    def pixels(self, prediction: Tensor, patches: Tensor) -> Tensor:
        """Undo `target`: predictions as pixels, with mean and deviation of the true `patches`."""
        if not self.norm_pix:
            return prediction
        mean, deviation = self._statistics(patches)
        return prediction * deviation + mean

    def patch_loss(self, prediction: Tensor, patches: Tensor) -> Tensor:
        """Mean squared error of every patch, in float32: two (..., P*P*C) -> (...)."""
        return (prediction.float() - self.target(patches.float())).square().mean(dim=-1)

    @staticmethod
    def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
        # Unbiased variance and 1e-6 inside the root, as in MAE and LoMaR.
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        return mean, (variance + 1e-6).sqrt()
