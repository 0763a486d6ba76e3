"""Self-attention and the transformer block, with timm's layers and parameter names."""

from itertools import pairwise

import torch
from timm.layers import DropPath, Mlp
from timm.models.vision_transformer_sam import window_partition, window_unpartition
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from lomar.models.flex_attention import flex_attend, supports
from lomar.models.rpe import DecomposedRelativePosition, RelativePosition, build_rpe

MAX_QUERIES = 1024  # of a long sequence, that are given a bias at a time
MAX_QUERIES_ON_CPU = 128  # whose logits over a 64 x 64 grid stay in its cache


class Attention(nn.Module):
    """Multi-head self-attention with optional relative positions.

    The bias of all pairs of a 64 x 64 grid takes 805 MB a block and image in float32 with 12 heads.
    Long sequences therefore go through in parts of `MAX_QUERIES` queries, whose bias is made once
    more for the backward pass: a part of that at a time, never the whole.

    Args:
        rpe: options of `lomar.models.rpe.build_rpe`, or None for no iRPE.
        decomposed: grid (height, width) of decomposed relative positions, or None for none.
        flex: long sequences on a GPU go through `lomar.models.flex_attention` instead of parts.

    Raises:
        ValueError: `flex` with positions that it is not for.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        rpe: dict | None = None,
        decomposed: tuple[int, int] | None = None,
        flex: bool = False,
    ):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        tables = {} if rpe is None else build_rpe(num_heads, dim // num_heads, **rpe)
        self.rpe_q, self.rpe_k, self.rpe_v = (tables.get(letter) for letter in 'qkv')
        if decomposed is not None:
            self.rpe_k = DecomposedRelativePosition(decomposed, dim // num_heads)
        self.flex = flex
        if flex and not (len(tables) == 1 and supports(self.rpe_k)):
            raise ValueError(
                "backbone.flex is True; allowed with backbone.position='irpe' and backbone.rpe of "
                "method='product', mode='contextual', on='k', LoMaR's"
            )

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Attend within each sequence: (N, L, D) -> (N, L, D), L = height * width (+ 1 for cls)."""
        n, length, dim = x.shape
        qkv = self.qkv(x).view(n, length, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.rpe_v is not None:
            out = self._attend_with_values(q, k, v, grid)
        elif self.rpe_k is None and self.rpe_q is None:
            out = scaled_dot_product_attention(q, k, v, scale=self.scale)
        elif length <= MAX_QUERIES + 1:
            out = self._attend(q, k, v, grid, 0, length)
        elif self.flex and x.is_cuda and length == grid[0] * grid[1]:
            assert isinstance(self.rpe_k, RelativePosition)  # as `supports` requires
            out = flex_attend(q, k, v, self.rpe_k, grid, self.scale)
        else:
            # Parts are whole rows of the grid, which is what decomposed positions need.
            queries = MAX_QUERIES_ON_CPU if x.device.type == 'cpu' else MAX_QUERIES
            step = max(queries // grid[1], 1) * grid[1]
            parts = pairwise([*range(0, length, step), length])
            out = torch.cat(
                [
                    checkpoint(self._attend, q, k, v, grid, *part, use_reentrant=False)
                    for part in parts
                ],
                dim=2,
            )
        return self.proj(out.transpose(1, 2).reshape(n, length, dim))

    def _bias(self, q: Tensor, k: Tensor, grid: tuple[int, int], start: int, stop: int):
        """Positional term of the logits of queries start ... stop, or None."""
        cls_token = k.shape[2] > grid[0] * grid[1]
        bias = None
        if self.rpe_k is not None:
            # LoMaR feeds the unscaled query into this term; iRPE's own code scales it first.
            bias = self.rpe_k(q[:, :, start:stop], grid, cls_token, slice(start, stop))
        if self.rpe_q is not None:
            of_keys = self.rpe_q(k * self.scale, grid, cls_token).transpose(-2, -1)
            of_keys = of_keys[:, :, start:stop]
            bias = of_keys if bias is None else bias + of_keys
        return bias

    def _attend(self, q, k, v, grid: tuple[int, int], start: int, stop: int) -> Tensor:
        bias = self._bias(q, k, grid, start, stop).to(q.dtype)
        q = q[:, :, start:stop]
        if q.device.type != 'cpu':
            return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)
        # No fused kernel for CPUs gives a bias its gradient; what PyTorch falls back to computes
        # bf16 in float32, and takes up to three times as long as the products written out.
        bias = bias.expand(*q.shape[:2], -1, -1).flatten(0, 1)
        q, k, v = (tensor.flatten(0, 1) for tensor in (q, k, v))
        logits = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=self.scale)
        return (logits.softmax(dim=-1) @ v).unflatten(0, (-1, self.num_heads))

    def _attend_with_values(self, q, k, v, grid: tuple[int, int]) -> Tensor:
        """With a positional term of the output, which needs the attention weights themselves."""
        assert self.rpe_v is not None
        logits = q @ k.transpose(-2, -1) * self.scale
        bias = self._bias(q, k, grid, 0, q.shape[2])
        attention = (logits if bias is None else logits + bias).softmax(dim=-1).to(v.dtype)
        cls_token = k.shape[2] > grid[0] * grid[1]
        return attention @ v + self.rpe_v(attention, grid, cls_token)


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer MLP, both residual.

    Args:
        window_size: patches along the side of the windows in which attention stays, as in ViTDet;
            0 = global. Maps are padded with zeros to whole windows, and padding is attended.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4,
        drop_path: float = 0.0,
        window_size: int = 0,
        rpe: dict | None = None,
        decomposed: tuple[int, int] | None = None,
        flex: bool = False,
    ):
        super().__init__()
        self.window_size = window_size
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, rpe, decomposed, flex)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Transform (N, L, D) -> (N, L, D)."""
        attend = self._attend_in_windows if self.window_size else self.attn
        x = x + self.drop_path(attend(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _attend_in_windows(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        size = self.window_size
        windows, padded = window_partition(x.unflatten(1, grid), size)
        windows = self.attn(windows.flatten(1, 2), (size, size)).unflatten(1, (size, size))
        return window_unpartition(windows, size, grid, padded).flatten(1, 2)
