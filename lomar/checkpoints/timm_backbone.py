"""The backbone of a detector or a segmentor as a model of timm."""

from typing import Any

import torch
from torch import nn

from lomar.checkpoints.files import misfit_as_value_error
from lomar.models.timm_vit import VisionTransformer
from lomar.models.vit import RPEViT

TOLERANCE = 1e-4  # of the largest value


def backbone_arguments(backbone: nn.Module) -> dict[str, Any]:
    """Return the arguments of timm's model for a backbone, whose features are compared.

    Raises:
        ValueError: timm has no such model; the message is the reason.
    """
    if not isinstance(backbone, RPEViT):
        raise ValueError(f'the backbone is {type(backbone).__name__}; allowed: RPEViT')
    if hasattr(backbone, 'pos_embed'):
        raise ValueError(
            'the backbone has absolute positions, which a detector resizes; timm has '
            'iRPE only for backbones of detectors'
        )
    blocks: Any = backbone.blocks
    windows = [block.window_size for block in blocks]
    size = max(windows)
    arguments = dict(
        embed_dim=backbone.embed_dim,
        depth=backbone.depth,
        num_heads=blocks[0].attn.num_heads,
        mlp_ratio=blocks[0].mlp.fc1.out_features / backbone.embed_dim,
        img_size=list(backbone.img_size),
        patch_size=backbone.patch_size,
        in_chans=backbone.in_channels,
        class_token=backbone.with_cls_token,
        num_classes=0,
        global_pool='avg',
        fc_norm=False,
        final_norm=isinstance(backbone.norm, nn.LayerNorm),
        window_size=size,
        global_blocks=[index for index, window in enumerate(windows) if window < size],
    )
    _compare_features(backbone, arguments)
    return dict(position='irpe', **arguments)


def _compare_features(backbone: RPEViT, arguments: dict[str, Any]) -> None:
    """Raise a ValueError unless both models have the same features of an image with two windows."""
    side = (arguments['window_size'] + 1) * backbone.patch_size
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, backbone.in_channels, side, 2 * side, generator=generator)
    model = VisionTransformer(**{**arguments, 'img_size': (side, 2 * side)}).eval()
    with misfit_as_value_error(), torch.inference_mode():
        model.load_state_dict(backbone.state_dict())
        *_, expected = backbone(images)
        tokens = model.forward_features(images)[:, int(backbone.with_cls_token) :]
    difference = (tokens.mT.unflatten(2, expected.shape[2:]) - expected).abs().max().item()
    if not difference <= TOLERANCE * expected.abs().max().item():
        raise ValueError(f'its model has other features (largest difference {difference:.1e})')
