"""Plain implementation of LoMaR, as a reference for speed and for equality."""

from types import MethodType

import torch
from torch import Tensor, nn

from lomar.models.attention import Attention
from lomar.models.lomar import LoMaR
from lomar.models.patches import patch_coordinates
from lomar.models.rpe import RelativePosition
from lomar.models.vit import RPEViT


def plain_attention(self: Attention, x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return `Attention.forward` computed step by step, with all logits at once.

    Relative positions are on the keys, or absent.
    """
    n, length, dim = x.shape
    qkv = self.qkv(x).view(n, length, 3, self.num_heads, dim // self.num_heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    logits = q @ k.transpose(-2, -1) * self.scale
    table, cls_token = self.rpe_k, length > grid[0] * grid[1]
    if isinstance(table, RelativePosition):
        logits = logits + table.gather_logits(q, table.ids(grid, cls_token, x.device))
    elif isinstance(table, nn.Module):  # decomposed positions
        logits = logits + table(q, grid, cls_token)
    out = logits.softmax(dim=-1) @ v
    return self.proj(out.transpose(1, 2).reshape(n, length, dim))


def make_plain(backbone: RPEViT) -> RPEViT:
    """Replace the attention of all blocks by `plain_attention`; weights and results stay equal."""
    for block in backbone.blocks:
        block.attn.forward = MethodType(plain_attention, block.attn)  # type: ignore[union-attr]
    return backbone


class PlainLoMaR(LoMaR):
    """LoMaR implemented as in the released code.

    Tokens and pixels of whole images are repeated for every window and gathered. All patches of a
    window are predicted.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        make_plain(self.backbone)

    def loss(self, images: Tensor) -> dict[str, Tensor]:  # type: ignore[override]  # no lists
        """Return the loss of `LoMaR.loss`, from the same random windows and masks."""
        backbone = self.backbone
        windows, masked = self.sample(images)
        number, size = windows.shape[1], self.samplers[0].size
        rows, columns = patch_coordinates(windows, size)
        place = (rows * (images.shape[-1] // backbone.patch_size) + columns).flatten(0, 1)[
            ..., None
        ]

        def gather(whole: Tensor) -> Tensor:
            return whole.repeat_interleave(number, dim=0).take_along_dim(place, dim=1)

        x = gather(backbone.patch_embed(images))
        x = torch.where(masked.flatten(0, 1)[..., None], backbone.mask_token, x)
        x = torch.cat([backbone.cls_token.expand(len(x), -1, -1), x], dim=1)
        x = backbone.encode(x, (size,) * 2)[:, 1:]
        sides = (torch.arange(side, device=images.device) for side in backbone.check_images(images))
        everywhere = torch.cartesian_prod(*sides).T[:, None].expand(-1, len(images), -1)
        target = gather(self.head.target(images, *everywhere))
        losses = self.head.target.patch_loss(self.head(x), target)
        # Indexing with a mask would synchronize with the GPU.
        masked = masked.flatten(0, 1)
        return {'loss': (losses * masked).sum() / masked.sum()}
