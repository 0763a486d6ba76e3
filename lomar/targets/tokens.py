"""Discrete tokens as targets of masked patches (BEiT, arXiv 2106.08254)."""

from abc import abstractmethod

import torch
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate, normalize

from lomar.checkpoints import load_file, unwrap
from lomar.models.float32_layers import full_precision
from lomar.models.targets import TARGETS, InputFormat, Normalisation, Target
from lomar.targets.frozen import Frozen
from lomar.targets.tokenizer import KEY, PatchTokenizer, Tokenizer, one_line
from lomar.utils import check_choice, undisturbed_rng

FILES = 'https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt'
VQKD_ENCODER = dict(  # of mmpretrain's BEiT v2 configs
    arch='base',
    img_size=224,
    patch_size=16,
    in_channels=3,
    out_type='featmap',
    norm_cfg=dict(type='LN', eps=1e-6),
    final_norm=True,
    use_abs_pos_emb=True,
    use_rel_pos_bias=False,
    layer_scale_init_value=0.0,
)
SEED = 0  # for random weights, which are equal in all processes and after --resume


class WholeImageTokenizer(Tokenizer):
    """Base class of mmpretrain's tokenizers, which process whole images.

    Images are resized to one token per patch and normalized as in the tokenizer's training.

    Attributes:
        mean, std: normalization of 8-bit pixels, equal for all channels.
        stride: side of a token in pixels.
        channels: number of channels of its input images.
    """

    mean: float
    std: float
    stride: int
    channels: int

    def __init__(self, network: BaseModule, inputs: InputFormat):
        super().__init__()
        self.network, self.inputs = network, inputs
        self.normalisation = Normalisation(inputs.mean, inputs.std)

    @classmethod
    @abstractmethod
    def make(cls, **settings) -> BaseModule:
        """Return mmpretrain's network with random weights."""

    @abstractmethod
    def token_map(self, images: Tensor) -> Tensor:
        """Return tokens (B, h, w) int64 of normalized images (B, C, h*stride, w*stride)."""

    @classmethod
    def build(
        cls, inputs: InputFormat, checkpoint: dict | None, **settings
    ) -> 'WholeImageTokenizer':
        """Build as `Tokenizer.build`; `settings` are arguments of mmpretrain's class."""
        if 'init_cfg' in settings:
            raise ValueError(f'{KEY}.tokenizer has init_cfg; name a file as {KEY}.weights instead')
        tokenizer = cls(cls.make(**settings), inputs)
        if tokenizer.channels != inputs.in_channels:
            raise ValueError(
                f'{KEY}.tokenizer takes {tokenizer.channels} channels, the images have '
                f'{inputs.in_channels}; allowed: the same (a PatchTokenizer takes any number)'
            )
        if checkpoint is not None:
            _load(tokenizer.network, unwrap(checkpoint))
        return tokenizer

    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return tokens as `Tokenizer.forward` does, taken from the map of whole images."""
        grid = [side // self.inputs.patch_size for side in images.shape[-2:]]
        size = [side * self.stride for side in grid]
        pixels = self.normalisation.undo(images.float())
        pixels = interpolate(pixels, size, mode='bicubic', antialias=True)
        # Bicubic resizing can exceed 0 to 255, which a resized 8-bit image would not.
        tokens = self.token_map((pixels.clamp(0, 255) - self.mean) / self.std)
        return tokens.flatten(1).gather(1, rows * grid[1] + columns)


class DALLETokenizer(WholeImageTokenizer):
    """DALL-E's encoder from mmpretrain's BEiT: 8192 tokens for 8 x 8 pixels."""

    origin = f'{FILES}/dalle_encoder.pth'
    mean, std = -31.875, 318.75  # x / 255 * 0.8 + 0.1, DALL-E's `map_pixels`
    stride = 8

    def __init__(self, network: BaseModule, inputs: InputFormat):
        super().__init__(network, inputs)
        self.channels = network.input_channels
        self.vocabulary = len(network.blocks.output.conv.w)

    @classmethod
    def make(cls, **settings) -> BaseModule:
        """Return mmpretrain's `DALLEEncoder`."""
        return MODELS.build(dict(type='mmpretrain.DALL-E', **settings))

    def token_map(self, images: Tensor) -> Tensor:
        """Return the most likely tokens."""
        # The network selects its precision itself; in bf16, many of the 8192 logits would be equal.
        with full_precision(images):
            return self.network(images).argmax(dim=1)


class VQKDTokenizer(WholeImageTokenizer):
    """VQ-KD from mmpretrain's BEiT v2: 8192 tokens for 16 x 16 pixels.

    `encoder_config` contains the differences from the encoder of mmpretrain's BEiT v2 configs.
    """

    origin = f'{FILES}/vqkd_encoder.pth'
    mean, std = 127.5, 127.5

    def __init__(self, network: BaseModule, inputs: InputFormat):
        super().__init__(network, inputs)
        projection = network.encoder.patch_embed.projection
        self.channels, self.stride = projection.in_channels, projection.stride[0]
        self.vocabulary = len(network.quantize.embedding.weight)
        for module in network.modules():
            if hasattr(module, 'drop_prob'):  # NumPy numbers cause graph breaks in torch.compile
                module.drop_prob = float(module.drop_prob)
        # Training statistics and a flag, which do not affect the tokens.
        del network.quantize.cluster_size, network.quantize.embedding.initted

    @classmethod
    def make(cls, encoder_config: dict | None = None, **settings) -> BaseModule:
        """Return mmpretrain's `VQKD` without k-means initialization of the codebook."""
        encoder = {**VQKD_ENCODER, **(encoder_config or {})}
        settings = {'quantize_kmeans_init': False, **settings}
        return MODELS.build(dict(type='mmpretrain.VQKD', encoder_config=encoder, **settings))

    def token_map(self, images: Tensor) -> Tensor:
        """Return the nearest codebook entries.

        `VQKD.get_tokens` supports square images only, and counts tokens over all processes in every
        call.
        """
        features = self.network.encoder(images)[0].movedim(1, -1)
        with full_precision(images):
            codes = normalize(self.network.encode_task_layer(features.float()), dim=-1)
            codebook = self.network.quantize.embedding.weight
            return (codebook.square().sum(dim=1) - 2 * codes @ codebook.T).argmin(dim=-1)


TOKENIZERS: dict[str, type[Tokenizer]] = {
    'DALL-E': DALLETokenizer,
    'VQKD': VQKDTokenizer,
    'PatchTokenizer': PatchTokenizer,
}


@TARGETS.register_module()
class TokenTarget(Target):
    """Target with the tokens of patches, which are predicted as a classification.

    Args:
        tokenizer: `type`, one of `TOKENIZERS`, and settings of this type.
        weights: file of the tokenizer, read weights-only; 'random' = untrained tokenizer.

    Raises:
        FileNotFoundError: the file does not exist; the message names its source.
        ValueError: a setting is out of range, or the weights are damaged or from another model.
    """

    def __init__(self, inputs: InputFormat, tokenizer: dict, weights: str | None = None):
        super().__init__(inputs)
        settings = dict(tokenizer)
        name = settings.pop('type', None)
        check_choice(f'{KEY}.tokenizer.type', name, TOKENIZERS)
        kind = TOKENIZERS[name]
        origin = f'A file for {name} comes from: {kind.origin}'
        if weights is None:
            raise ValueError(
                f"{KEY}.weights is not set; allowed: a file, or 'random' for an untrained "
                f'tokenizer. {origin}'
            )
        with undisturbed_rng():
            torch.manual_seed(SEED)
            try:
                # Tensors on the meta device have no values.
                untrained = weights == 'random' or torch.empty(0).is_meta
                checkpoint = None if untrained else load_file(weights)
                built = kind.build(inputs, checkpoint, **settings)
            except (FileNotFoundError, ValueError) as error:
                if weights == 'random':
                    raise
                raise type(error)(f'{KEY}.weights is {weights}: {error}. {origin}') from error
        self.tokenizer = Frozen(built)
        self.dim = built.vocabulary

    def forward(self, images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Return tokens (B, N) int64 of N patches per image."""
        return self.tokenizer(images, rows, columns)

    def patch_loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the cross entropy per patch in float32: (..., dim), (...) int64 -> (...)."""
        logits = prediction.float().flatten(0, -2)
        return cross_entropy(logits, target.flatten(), reduction='none').view(target.shape)

    @torch.no_grad()
    def to_pixels(self, prediction: Tensor, patches: Tensor) -> Tensor | None:
        """Return pixels of the most likely tokens; None for a tokenizer without a decoder."""
        return self.tokenizer.network.to_pixels(prediction.argmax(dim=-1), patches)


def _load(network: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load weights; ignore other weights in the file, such as those of a decoder."""
    try:
        missing = network.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as error:
        raise ValueError(f'weights of another size: {one_line(error)}') from error
    if missing:
        more = f' and {len(missing) - 3} more' if len(missing) > 3 else ''
        raise ValueError(f'it lacks {", ".join(missing[:3])}{more}')
