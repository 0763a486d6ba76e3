"""Models to compare, built by name: pretraining models and detection backbones."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.speed.plain import PlainLoMaR, make_plain
from lomar.models import RPEViT
from lomar.models.architectures import ARCHS
from lomar.models.lomar import LoMaR
from lomar.models.windows import masked_indices, sample_masked

PATCH = 16


@dataclass(frozen=True)
class Contender:
    """A model, and the functions to measure.

    Args:
        loss: forward pass of a training step: normalised images (B, 3, H, W) to a scalar.
        encode: inference: the same images to features of whole images.
        layers: the transformer blocks, which are compiled one by one.
    """

    model: nn.Module
    loss: Callable[[Tensor], Tensor]
    encode: Callable[[Tensor], object]
    layers: list[nn.Module]


class FullTokenModel(RPEViT):
    """Masked image modelling in which all tokens of an image go through the encoder.

    Without a vocabulary it is SimMIM (arXiv 2111.09886), which predicts pixels of single patches
    with an L1 loss. With a vocabulary it is BEiT (arXiv 2106.08254), which predicts tokens; the
    target tokens are random, as the tokenizer is not measured.

    Args:
        vocabulary: number of discrete tokens, or None for pixels.
        mask_ratio: fraction of the patches that are masked.
    """

    def __init__(self, arch: str, img_size: int, vocabulary: int | None, mask_ratio: float):
        super().__init__(arch, img_size, PATCH, position='absolute')
        self.num_masked = int((img_size // PATCH) ** 2 * mask_ratio)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, self.embed_dim))
        self.vocabulary = vocabulary
        self.pred = nn.Linear(self.embed_dim, vocabulary or 3 * PATCH**2)

    def loss(self, images: Tensor) -> Tensor:
        """Return the loss of the masked patches of images (B, 3, H, W)."""
        grid = self.check_images(images)
        # The whole image as one window.
        masked = sample_masked(len(images), 1, grid[0], self.num_masked, device=images.device)[:, 0]
        hidden = masked_indices(masked, self.num_masked)[..., None]
        tokens = torch.where(masked[..., None], self.mask_token, self.patch_embed(images))
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        latent = self.encode(tokens + self.pos_embed, grid)[:, 1:]
        # BEiT's head predicts only masked patches, SimMIM's predicts all patches.
        if self.vocabulary:
            logits = self.pred(latent.take_along_dim(hidden, dim=1)).float()
            target = torch.randint(self.vocabulary, logits.shape[:2], device=images.device)
            return F.cross_entropy(logits.flatten(0, 1), target.flatten())
        target = F.pixel_unshuffle(images, PATCH).flatten(2).transpose(1, 2)
        return (self.pred(latent) - target).abs().take_along_dim(hidden, dim=1).mean()


def _lomar(arch: str, size: int, kind: type[LoMaR]) -> Contender:
    model = kind(
        backbone=dict(type='LoMaRViT', arch=arch, img_size=size, patch_size=PATCH),
        windows=dict(size=7, number=4),
        head=dict(type='WindowPixelHead'),
    )
    return Contender(
        model, lambda x: model.loss(x)['loss'], model.backbone, list(model.backbone.blocks)
    )


def _mae(arch: str, size: int, fused: bool) -> Contender:
    """Return mmpretrain's MAE with PyTorch's fused attention, or unfused as before PyTorch 2."""
    from mmcv.cnn.bricks import DropPath
    from mmpretrain.models.utils.attention import (
        MultiheadAttention,
        scaled_dot_product_attention_pyimpl,
    )

    init_default_scope('mmpretrain')
    width = ARCHS[arch]['embed_dim']
    backbone = dict(
        embed_dims=width,
        num_layers=ARCHS[arch]['depth'],
        num_heads=ARCHS[arch]['num_heads'],
        feedforward_channels=4 * width,
    )
    model = MODELS.build(
        dict(
            type='MAE',
            backbone=dict(type='MAEViT', arch=backbone, img_size=size, patch_size=PATCH),
            # 512 wide, 8 deep, 16 heads for every encoder, as in MAE
            neck=dict(type='MAEPretrainDecoder', num_patches=(size // PATCH) ** 2, embed_dim=width),
            head=dict(
                type='MAEPretrainHead',
                norm_pix=True,
                patch_size=PATCH,
                loss=dict(type='PixelReconstructionLoss', criterion='L2'),
            ),
        )
    )
    for module in model.modules():
        if isinstance(module, MultiheadAttention) and not fused:
            module.scaled_dot_product_attention = scaled_dot_product_attention_pyimpl
        elif isinstance(module, DropPath):
            # A NumPy number would cause two graph breaks per compiled layer.
            module.drop_prob = float(module.drop_prob)
    layers = [*model.backbone.layers, *model.neck.decoder_blocks]
    return Contender(model, lambda x: model.loss(x, None)['loss'], model.extract_feat, layers)


def _full_tokens(arch: str, size: int, vocabulary: int | None, mask_ratio: float) -> Contender:
    model = FullTokenModel(arch, size, vocabulary, mask_ratio)
    return Contender(model, model.loss, model, list(model.blocks))


def _detector(
    arch: str, size: int, position: str, plain: bool = False, flex: bool = False
) -> Contender:
    """Return ViTDet's backbone: windows of 14 x 14, the last block of each quarter global."""
    quarter = ARCHS[arch]['depth'] // 4
    model = RPEViT(
        arch,
        size,
        PATCH,
        out_type='featmap',
        position=position,
        with_cls_token=False,
        final_norm=False,
        window_size=14,
        global_blocks=range(quarter - 1, 4 * quarter, quarter),
        flex=flex,
    )
    if plain:
        make_plain(model)
    return Contender(model, lambda x: model(x)[0].square().mean(), model, list(model.blocks))


CONTENDERS = {
    'pretrain': {
        'lomar': lambda arch, size: _lomar(arch, size, LoMaR),
        'lomar-plain': lambda arch, size: _lomar(arch, size, PlainLoMaR),
        'mae': lambda arch, size: _mae(arch, size, fused=True),
        'mae-eager': lambda arch, size: _mae(arch, size, fused=False),
        'simmim': lambda arch, size: _full_tokens(arch, size, None, 0.6),
        'beit': lambda arch, size: _full_tokens(arch, size, 8192, 0.4),
    },
    'detect': {
        'irpe': lambda arch, size: _detector(arch, size, 'irpe'),
        'irpe-plain': lambda arch, size: _detector(arch, size, 'irpe', plain=True),
        'decomposed': lambda arch, size: _detector(arch, size, 'absolute+decomposed'),
        'absolute': lambda arch, size: _detector(arch, size, 'absolute'),
    },
}
if torch.cuda.is_available():  # FlexAttention has no gradients elsewhere
    CONTENDERS['detect']['irpe-flex'] = lambda arch, size: _detector(arch, size, 'irpe', flex=True)
# Other implementations of a contender, which have its model FLOPs.
SAME_MODEL = {'lomar-plain': 'lomar', 'mae-eager': 'mae', 'irpe-plain': 'irpe', 'irpe-flex': 'irpe'}


def build(task: str, name: str, arch: str, size: int) -> Contender:
    """Return a contender for square images of `size` pixels.

    Raises:
        ValueError: an unknown name or a wrong size; the message names the flag.
    """
    for flag, value, allowed in (
        ('--task', task, CONTENDERS),
        ('--models', name, CONTENDERS.get(task, ())),
        ('--archs', arch, ARCHS),
    ):
        if value not in allowed:
            raise ValueError(f"{flag} has '{value}'; allowed: {', '.join(allowed)}")
    if size < 8 * PATCH or size % PATCH:
        raise ValueError(
            f'--sizes has {size}; allowed: multiples of {PATCH} from {8 * PATCH} on (four windows)'
        )
    return CONTENDERS[task][name](arch, size)
