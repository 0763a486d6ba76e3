"""Interface of tokenizers, and a small tokenizer for single patches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from lomar.checkpoints import unwrap
from lomar.models.float32_layers import full_precision
from lomar.models.patches import patches_at
from lomar.models.targets import InputFormat, Normalisation
from lomar.utils import check_least, check_per_channel

KEY = 'head.target'
# Relative to a channel's standard deviation over all images. Limits the noise of flat patches.
FLOOR = 0.1


class Tokenizer(nn.Module, ABC):
    """Base class of tokenizers, which map image patches to token ids of a vocabulary.

    Attributes:
        origin: source of the weights, for messages.
        vocabulary: number of tokens.
    """

    origin: str
    vocabulary: int

    @classmethod
    @abstractmethod
    def build(cls, inputs: InputFormat, checkpoint: dict | None, **settings) -> 'Tokenizer':
        """Build a tokenizer for a model's images.

        Args:
            checkpoint: content of a file with the weights; None = random weights.
            settings: `head.target.tokenizer` without `type`.
        """

    @abstractmethod
    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return tokens (B, N) int64 of patches at grid coordinates (B, N) of normalized images."""

    def to_pixels(self, tokens: Tensor, patches: Tensor) -> Tensor | None:
        """Return patches (..., P*P*C) decoded from tokens (...); None without a decoder.

        Args:
            patches: true patches (..., P*P*C), for values that a token does not encode.
        """
        return None


class PatchTokenizer(Tokenizer):
    """Tokenizer that encodes one patch by a small network and selects the nearest codebook entry.

    For training and for pictures, a decoder maps an entry to the pixels of a patch. These are
    normalized by the patch's mean and deviation, as in `PixelTarget`.

    Args:
        patch_size: P, in pixels.
        channels: C.
        vocabulary: number of codebook entries.
        code_dim: dimension of a codebook entry, which is a unit vector.
        hidden: width of encoder and decoder.
        mean, std: statistics of the pixel values in the files; one number per channel, or one
            number for all channels.
    """

    origin = 'lomar tokenizer --images DIR --out FILE'
    codebook: Tensor

    def __init__(
        self,
        patch_size: int,
        channels: int = 3,
        vocabulary: int = 1024,
        code_dim: int = 16,
        hidden: int = 256,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
    ):
        super().__init__()
        numbers = dict(
            patch_size=patch_size,
            channels=channels,
            vocabulary=vocabulary,
            code_dim=code_dim,
            hidden=hidden,
        )
        check_least('tokenizer', **numbers)
        check_least('tokenizer', 2, vocabulary=vocabulary, code_dim=code_dim)
        check_per_channel('tokenizer', channels, mean=mean, std=std)
        if min(std) <= 0:
            raise ValueError(f'tokenizer.std is {list(std)}; allowed: above 0')
        self.settings: dict[str, Any] = dict(numbers, mean=list(mean), std=list(std))
        self.vocabulary = vocabulary
        pixels = patch_size**2 * channels
        self.encoder = _mlp(pixels, hidden, code_dim)
        self.decoder = _mlp(code_dim, hidden, pixels)
        self.register_buffer('codebook', normalize(torch.randn(vocabulary, code_dim), dim=1))
        self.own_normalisation = Normalisation(mean, std)
        self.normalisation = Normalisation([0.0], [1.0])  # identity: pixel values of the file

    def checkpoint(self) -> dict:
        """Return plain numbers and tensors from which `from_checkpoint` rebuilds the tokenizer."""
        weights = {name: value.cpu() for name, value in self.state_dict().items()}
        return {'type': type(self).__name__, 'settings': self.settings, 'state_dict': weights}

    @classmethod
    def from_checkpoint(cls, checkpoint: dict) -> 'PatchTokenizer':
        """Return a tokenizer from the output of `checkpoint`."""
        if checkpoint.get('type') != cls.__name__:
            raise ValueError(f'it is no file of `lomar tokenizer` ({cls.origin})')
        try:
            tokenizer = cls(**checkpoint['settings'])
            tokenizer.load_state_dict(unwrap(checkpoint))
        except (KeyError, RuntimeError, TypeError) as error:
            raise ValueError(f'the tokenizer in it is not whole: {one_line(error)}') from error
        return tokenizer

    @classmethod
    def build(cls, inputs: InputFormat, checkpoint: dict | None, **settings) -> 'PatchTokenizer':
        """Build as `Tokenizer.build`; explicit settings must equal those in the file."""
        if unknown := set(settings) - set(signature(cls).parameters):
            raise ValueError(
                f'{KEY}.tokenizer has {sorted(unknown)}; a PatchTokenizer allows: '
                f'{", ".join(signature(cls).parameters)}'
            )
        images = dict(patch_size=inputs.patch_size, channels=inputs.in_channels)
        if checkpoint is None:
            normalisation = dict(mean=inputs.mean, std=inputs.std)
            tokenizer = cls(**{**images, **normalisation, **settings})
        else:
            tokenizer = cls.from_checkpoint(checkpoint)
        for name, value in {**settings, **images}.items():
            found = tokenizer.settings[name]
            if found != (list(value) if isinstance(value, Sequence) else value):
                raise ValueError(
                    f'the tokenizer has {name}={found}, the model and its {KEY}.tokenizer '
                    f'{name}={value}; allowed: the same (train one to fit: {cls.origin})'
                )
        tokenizer.normalisation = Normalisation(inputs.mean, inputs.std)
        return tokenizer

    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return tokens as `Tokenizer.forward` does, computed from these patches only."""
        # Rounding in mixed precision would assign some patches to another codebook entry.
        with full_precision(images):
            patches = patches_at(images.float(), rows, columns, self.settings['patch_size'])
            return self.tokens(self.encode(self.normalised(patches)[0]))

    def normalised(self, patches: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return patches (..., P*P*C) normalized per patch, their means and deviations."""
        x = self.normalisation.undo(_channels_first(patches, self.settings['channels']))
        x = _channels_last(self.own_normalisation(x))
        variance, mean = torch.var_mean(x, dim=-1, keepdim=True, correction=0)
        deviation = (variance + FLOOR**2).sqrt()
        return (x - mean) / deviation, mean, deviation

    def encode(self, patches: Tensor) -> Tensor:
        """Encode normalized patches (..., P*P*C) as unit vectors (..., code_dim)."""
        return normalize(self.encoder(patches), dim=-1)

    def tokens(self, codes: Tensor) -> Tensor:
        """Return the nearest codebook entries: (..., code_dim) -> (...) int64."""
        return (codes @ self.codebook.T).argmax(dim=-1)

    def to_pixels(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """Return decoded pixels with the true patches' mean and deviation."""
        _, mean, deviation = self.normalised(patches.float())
        x = self.decoder(self.codebook[tokens]) * deviation + mean
        x = self.own_normalisation.undo(_channels_first(x, self.settings['channels']))
        return _channels_last(self.normalisation(x))


def one_line(error: Exception) -> str:
    """Return the message of a PyTorch error as one line without a final period."""
    return ' '.join(str(error).split()).rstrip('. ')


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.GELU(),
        nn.Linear(hidden, hidden),
        nn.GELU(),
        nn.Linear(hidden, outputs),
    )


def _channels_first(patches: Tensor, channels: int) -> Tensor:
    """Reshape (..., P*P*C) to (..., C, P*P, 1), which broadcasts like an image."""
    return patches.unflatten(-1, (-1, channels)).transpose(-1, -2)[..., None]


def _channels_last(patches: Tensor) -> Tensor:
    return patches.squeeze(-1).transpose(-1, -2).flatten(-2)
