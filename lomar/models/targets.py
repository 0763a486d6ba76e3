"""What is predicted for a patch, and how a prediction is judged: what a target is, and pixels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.registry import Registry
from torch import Tensor, nn

from lomar.models.patches import patches_at

TARGETS = Registry('target', locations=['lomar.models.targets', 'lomar.targets'])


@dataclass(frozen=True)
class PatchFormat:
    """How images reach a model, which fills this in for its target.

    Args:
        size: side of a patch in pixels, P.
        channels: of the images, C.
        mean, std: a number for each channel, or one for all: what pixels were normalised with.
        img_size: height and width in pixels that the model is meant for; others may come.
    """

    size: int
    channels: int
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    img_size: tuple[int, int] = (224, 224)


class Normalisation(nn.Module):
    """Normalization of images; mean and standard deviation are buffers outside of checkpoints.

    Args:
        mean, std: one number per channel, or one number for all channels.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        for name, numbers in (('mean', mean), ('std', std)):
            buffer = torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalize images or parts of images (..., C, H, W)."""
        return (pixels - self.mean) / self.std

    def undo(self, images: Tensor) -> Tensor:
        """Denormalize images or parts of images (..., C, H, W)."""
        return images * self.std + self.mean


class Target(nn.Module, ABC):
    """Base class of prediction targets of masked patches.

    Args:
        patches: the model's images, given by `LoMaR`.

    Attributes:
        dim: number of values that the head predicts per patch.
        normalisation: normalization of the model's images.
    """

    dim: int

    def __init__(self, patches: PatchFormat):
        super().__init__()
        self.patches = patches
        self.normalisation = Normalisation(patches.mean, patches.std)

    @abstractmethod
    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """What to predict for patches of images.

        Args:
            images: (B, C, H, W), normalised.
            rows, columns: places of the patches in the grid, (B, N) each.

        Returns:
            (B, N, ...), as `patch_loss` wants it.
        """

    def patch_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Loss of every patch, in float32: (..., dim) and a target to (...); mean squared error."""
        return (prediction.float() - target.float()).square().mean(dim=-1)

    def pixels(self, prediction: Tensor, patches: Tensor) -> Tensor | None:
        """A prediction (..., dim) as pixels (..., P*P*C) to look at; None where it is no picture.

        Args:
            patches: the true ones, (..., P*P*C), for what a prediction leaves open.
        """
        return None


def build_target(config: dict, patches: PatchFormat) -> Target:
    """Build a target from its config, of whatever default scope the config is.

    Raises:
        ValueError: an unknown type; names the known ones.
    """
    settings = dict(config)
    name = settings.pop('type', None)
    kind = TARGETS.get(name) if name else None
    if kind is None:
        known = ', '.join(sorted(TARGETS.module_dict))
        raise ValueError(f"head.target.type is '{name}'; allowed: {known}")
    return kind(patches=patches, **settings)


@TARGETS.register_module()
class PixelTarget(Target):
    """The pixels of a patch.

    Args:
        norm_pix: normalised by the mean and deviation of their patch (as MAE).
    """

    def __init__(self, patches: PatchFormat, norm_pix: bool = True):
        super().__init__(patches)
        self.norm_pix = norm_pix
        self.dim = patches.size**2 * patches.channels

    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """As `Target.forward`, (B, N, P*P*C) in the order row, column, channel."""
        patches = patches_at(images, rows, columns, self.patches.size).float()
        if not self.norm_pix:
            return patches
        mean, deviation = self._statistics(patches)
        return (patches - mean) / deviation

    def pixels(self, prediction: Tensor, patches: Tensor) -> Tensor:
        """Undo the normalisation by the mean and deviation of the true patch."""
        if not self.norm_pix:
            return prediction
        mean, deviation = self._statistics(patches)
        return prediction * deviation + mean

    @staticmethod
    def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
        # Unbiased variance and 1e-6 inside the root, as in MAE and LoMaR.
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        return mean, (variance + 1e-6).sqrt()
