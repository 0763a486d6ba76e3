"""Self-attention and the transformer block, with timm's layers and parameter names."""

from collections.abc import Callable
from itertools import pairwise

import torch
from timm.layers import DropPath, Mlp
from timm.models.vision_transformer_sam import window_partition, window_unpartition
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from lomar.models.flex_attention import flex_attend, supports
from lomar.models.rpe import (
    DecomposedRelativePosition,
    RelativePosition,
    build_rpe,
    is_exporting,
)

MAX_QUERIES = 1024  # queries per part of a long sequence
MAX_QUERIES_ON_CPU = 128  # logits of this part over a 64 x 64 grid fit into the CPU cache


class Attention(nn.Module):
    """Multi-head self-attention with optional relative positions.

    The bias of a 64 x 64 grid with 12 heads takes 805 MB per block and image in float32. Therefore
    long sequences are processed in parts of `MAX_QUERIES` queries. The backward pass recomputes the
    bias of each part, so that the whole bias is never in memory.

    Args:
        rpe: options of `lomar.models.rpe.build_rpe`; None = no iRPE.
        decomposed: grid (height, width) of decomposed relative positions; None = no such positions.
        flex: on a GPU, use `lomar.models.flex_attention` for long sequences instead of parts.
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
        # Without gradients, parts need no recomputation: shorter sequences are faster, too.
        short = MAX_QUERIES_ON_CPU if _infers_on_cpu(x) else MAX_QUERIES
        qkv = self.qkv(x).view(n, length, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        if self.rpe_v is not None:
            out = self._attend_with_values(q, k, v, grid)
        elif self.rpe_k is None and self.rpe_q is None:
            out = scaled_dot_product_attention(q, k, v, scale=self.scale)
        elif length <= short + 1:
            out = self._attend(q, k, v, grid, 0, length)
        elif self.flex and x.is_cuda and length == grid[0] * grid[1]:
            assert isinstance(self.rpe_k, RelativePosition)  # as `supports` requires
            out = flex_attend(q, k, v, self.rpe_k, grid, self.scale)
        else:
            # Parts are whole rows of the grid, which decomposed positions require.
            # An exported file has fewer, larger parts.
            in_cache = x.device.type == 'cpu' and not is_exporting()
            queries = MAX_QUERIES_ON_CPU if in_cache else MAX_QUERIES
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
        """Return the positional term of the logits of queries start ... stop, or None."""
        cls_token = k.shape[2] > grid[0] * grid[1]
        bias = None
        if self.rpe_k is not None:
            # LoMaR uses the unscaled query in this term; the code of iRPE scales the query first.
            bias = self.rpe_k(q[:, :, start:stop], grid, cls_token, slice(start, stop))
        if self.rpe_q is not None:
            of_keys = self.rpe_q(k * self.scale, grid, cls_token).transpose(-2, -1)
            of_keys = of_keys[:, :, start:stop]
            bias = of_keys if bias is None else bias + of_keys
        return bias

    def _attend(self, q, k, v, grid: tuple[int, int], start: int, stop: int) -> Tensor:
        bias = self._bias(q, k, grid, start, stop).to(q.dtype)
        q = q[:, :, start:stop]
        if q.device.type != 'cpu' or _infers_on_cpu(q):
            return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=self.scale)
        # No fused CPU kernel computes the gradient of a bias. PyTorch's fallback computes bf16 in
        # float32 and takes up to three times as long as the explicit products below.
        bias = bias.expand(*q.shape[:2], -1, -1).flatten(0, 1)
        q, k, v = (tensor.flatten(0, 1) for tensor in (q, k, v))
        logits = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=self.scale)
        return (logits.softmax(dim=-1) @ v).unflatten(0, (-1, self.num_heads))

    def _attend_with_values(self, q, k, v, grid: tuple[int, int]) -> Tensor:
        """Attend with a positional term of the output, which needs the attention weights."""
        assert self.rpe_v is not None
        logits = q @ k.transpose(-2, -1) * self.scale
        bias = self._bias(q, k, grid, 0, q.shape[2])
        attention = (logits if bias is None else logits + bias).softmax(dim=-1).to(v.dtype)
        cls_token = k.shape[2] > grid[0] * grid[1]
        return attention @ v + self.rpe_v(attention, grid, cls_token)


def _infers_on_cpu(x: Tensor) -> bool:
    """Return whether the result is computed on a CPU, without gradients, and not exported."""
    return x.device.type == 'cpu' and not torch.is_grad_enabled() and not is_exporting()


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer MLP, both residual.

    Args:
        window_size: window side in patches for attention within windows, as in ViTDet; 0 = global
            attention. Maps are padded with zeros to whole windows, and padding is attended.
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
        x = x + self.drop_path(attend(self.attn, self.norm1(x), grid, self.window_size))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def attend(
    attention: Callable[[Tensor, tuple[int, int]], Tensor],
    x: Tensor,
    grid: tuple[int, int],
    window_size: int,
) -> Tensor:
    """Attend in each window of a grid, or in the whole grid if `window_size` is 0: (N, L, D)."""
    if not window_size:
        return attention(x, grid)
    window = window_size, window_size
    windows, padded = window_partition(x.unflatten(1, grid), window_size)
    windows = attention(windows.flatten(1, 2), window).unflatten(1, window)
    return window_unpartition(windows, window_size, grid, padded).flatten(1, 2)
