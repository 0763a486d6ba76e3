"""Prediction targets of masked patches: the interface and the pixel target."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.registry import Registry
from torch import Tensor, nn

from lomar.models.patches import patches_at
from lomar.utils import check_choice

MODULES = ('models.targets', 'targets.hog', 'targets.teacher', 'targets.tokens')
TARGETS = Registry('target', locations=[f'lomar.{name}' for name in MODULES])


@dataclass(frozen=True)
class InputFormat:
    """Description of a model's input images, which `LoMaR` gives to its head and target.

    Args:
        patch_size: side of a patch in pixels, P.
        in_channels: channels of the images, C.
        mean, std: values that normalized the images; one per channel, or one for all channels.
        img_size: typical height and width in pixels; other sizes are possible.
    """

    patch_size: int
    in_channels: int
    mean: Sequence[float] = (0.0,)
    std: Sequence[float] = (1.0,)
    img_size: tuple[int, int] = (224, 224)


class Normalisation(nn.Module):
    """Normalization of images; mean and standard deviation are buffers outside of checkpoints.

    Args:
        mean, std: one number per channel, or one number for all channels.
    """

    mean: Tensor
    std: Tensor

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
        inputs: description of the images, given by `LoMaR`.

    Attributes:
        dim: number of values that the head predicts per patch.
        normalisation: normalization of the model's images.
    """

    dim: int

    def __init__(self, inputs: InputFormat):
        super().__init__()
        self.inputs = inputs
        self.normalisation = Normalisation(inputs.mean, inputs.std)

    @abstractmethod
    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the target of N patches per image.

        Args:
            images: (B, C, H, W), normalized.
            rows, columns: grid coordinates of the patches, (B, N) each.

        Returns:
            (B, N, ...), the second argument of `patch_loss`.
        """

    def patch_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared error per patch in float32: (..., dim), target -> (...)."""
        return (prediction.float() - target.float()).square().mean(dim=-1)

    def to_pixels(self, prediction: Tensor, patches: Tensor) -> Tensor | None:
        """Return pixels (..., P*P*C) of a prediction (..., dim); None if it has no pixels.

        Args:
            patches: true patches (..., P*P*C), for values that a prediction does not contain.
        """
        return None


def build_target(config: dict, inputs: InputFormat) -> Target:
    """Build a target from its config, independent of the config's default scope."""
    settings = dict(config)
    name = settings.pop('type', None)
    TARGETS.import_from_location()
    check_choice('head.target.type', name, sorted(TARGETS.module_dict))
    return TARGETS.get(name)(inputs=inputs, **settings)


@TARGETS.register_module()
class PixelTarget(Target):
    """Target with the pixels of a patch.

    Args:
        norm_pix: normalize pixels by the mean and standard deviation of their patch, as in MAE.
    """

    def __init__(self, inputs: InputFormat, norm_pix: bool = True):
        super().__init__(inputs)
        self.norm_pix = norm_pix
        self.dim = inputs.patch_size**2 * inputs.in_channels

    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return the patches' pixels (B, N, P*P*C) in the order row, column, channel."""
        patches = patches_at(images, rows, columns, self.inputs.patch_size).float()
        if not self.norm_pix:
            return patches
        mean, deviation = self._statistics(patches)
        return (patches - mean) / deviation

    def to_pixels(self, prediction: Tensor, patches: Tensor) -> Tensor:
        """Denormalize a prediction by the statistics of the true patch."""
        if not self.norm_pix:
            return prediction
        mean, deviation = self._statistics(patches)
        return prediction * deviation + mean

    @staticmethod
    def _statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
        # Unbiased variance and 1e-6 inside the root, as in MAE and LoMaR.
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        return mean, (variance + 1e-6).sqrt()
