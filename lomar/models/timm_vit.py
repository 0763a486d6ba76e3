"""timm's vision transformer with iRPE, the class of the models that `lomar.timm` registers."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from timm.models import register_notrace_module
from timm.models import vision_transformer as vit
from torch import Tensor, nn

from lomar.models.attention import Attention, attend
from lomar.models.weight_values import check_values

# Options that would change tokens or attention, which LoMaR's positions do not support.
FIXED = dict(
    pos_embed='none',
    reg_tokens=0,
    patch_drop_rate=0.0,
    attn_drop_rate=0.0,
    qkv_bias=True,
    proj_bias=True,
    qk_norm=False,
    scale_attn_norm=False,
    attn_layer='',
)


@register_notrace_module
class GridAttention(Attention):
    """`Attention` that stores grid and window size, because timm's blocks pass tokens only."""

    grid: tuple[int, int]
    window_size = 0

    def __init__(self, dim: int, num_heads: int, proj_drop: float):
        super().__init__(dim, num_heads, rpe={})
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(  # type: ignore[override]  # timm's blocks give no grid
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False
    ) -> Tensor:
        """Attend within each sequence: (N, L, D) -> (N, L, D); masks raise a ValueError."""
        if attn_mask is not None or is_causal:
            raise ValueError('attn_mask or is_causal is set; lomar_vit_* models attend to all')
        return self.proj_drop(attend(super().forward, x, self.grid, self.window_size))

    def reset_parameters(self) -> None:
        """Set the tables to zero; timm initializes linear layers only."""
        for name, table in self.named_parameters():
            if 'lookup_table' in name:
                nn.init.zeros_(table)


class Block(vit.Block):
    """timm's block with LoMaR's attention."""

    attn: GridAttention

    def __init__(self, dim: int, num_heads: int, proj_drop: float = 0.0, **options):
        super().__init__(dim, num_heads, proj_drop=proj_drop, **options)
        place = self.attn.qkv.weight
        self.attn = GridAttention(dim, num_heads, proj_drop).to(place.device, place.dtype)


class VisionTransformer(vit.VisionTransformer):
    """timm's vision transformer with iRPE in place of absolute positions.

    Parameters have the names of `RPEViT`, and `head`. The arguments are those of timm's class;
    those in `FIXED` allow one value.

    Args:
        window_size: window side in patches for attention within windows; 0 = global attention.
        global_blocks: indices of blocks with global attention.
    """

    def __init__(self, *args, window_size: int = 0, global_blocks: Sequence[int] = (), **options):
        for name, value in FIXED.items():
            if options.get(name, value) != value:
                raise ValueError(f'{name} is {options[name]!r}; lomar_vit_* allow: {value!r}')
        options = dict(**{**options, 'pos_embed': 'none'}, block_fn=Block)
        super().__init__(*args, **options)
        if window_size and self.cls_token is not None:
            raise ValueError(f'window_size is {window_size}; allowed with class_token=False')
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            block.attn.window_size = 0 if index in global_blocks else window_size
        self._set_grid(self.patch_embed.grid_size)

    def _set_grid(self, grid: tuple[int, int]) -> None:
        for block in self.blocks:
            assert isinstance(block, Block)
            block.attn.grid = grid

    def load_state_dict(self, state_dict: Mapping[str, Any], *args, **options) -> Any:
        """Load weights as PyTorch does; raise a ValueError that names weights such as NaN."""
        check_values(dict(state_dict))
        return super().load_state_dict(state_dict, *args, **options)

    def set_input_size(self, img_size=None, patch_size=None) -> None:
        """Set the image size, (height, width) or one side; the weights do not change."""
        super().set_input_size(img_size=img_size, patch_size=patch_size)
        self._set_grid(self.patch_embed.grid_size)

    def _pos_embed(self, x: Tensor) -> Tensor:
        if self.dynamic_img_size:  # (B, height, width, D); else (B, L, D)
            if self.grad_checkpointing and self.training:
                # The backward pass recomputes blocks, possibly with the grid of another batch.
                raise ValueError(
                    'dynamic_img_size and gradient checkpointing exclude each other in lomar_vit_* '
                    'models; use set_input_size'
                )
            self._set_grid((x.shape[1], x.shape[2]))
        # Older releases of timm forget the cls token where there are no absolute positions.
        # In mixed precision the residual stream is float32, as in `RPEViT.encode`.
        x = x.flatten(1, -2).to(self.patch_embed.proj.weight.dtype)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        return self.pos_drop(x)
