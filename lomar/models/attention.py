"""Self-attention and the transformer block, with timm's layers and parameter names."""

from timm.layers import DropPath, Mlp
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from lomar.models.rpe import build_rpe


class Attention(nn.Module):
    """Multi-head self-attention with optional iRPE terms.

    Args:
        rpe: options of `lomar.models.rpe.build_rpe`, or None for no relative positions.
    """

    def __init__(self, dim: int, num_heads: int, rpe: dict | None = None):
        super().__init__()
        self.num_heads = num_heads
        self.scale = (dim // num_heads) ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        tables = {} if rpe is None else build_rpe(num_heads, dim // num_heads, **rpe)
        self.rpe_q, self.rpe_k, self.rpe_v = (tables.get(letter) for letter in 'qkv')

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Attend within each sequence: (N, L, D) -> (N, L, D), L = height * width (+ 1 for cls)."""
        n, length, dim = x.shape
        cls_token = length > grid[0] * grid[1]
        qkv = self.qkv(x).view(n, length, 3, self.num_heads, dim // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        bias = None
        if self.rpe_k is not None:
            # LoMaR feeds the unscaled query into this term; iRPE's own code scales it first.
            bias = self.rpe_k(q, grid, cls_token)
        if self.rpe_q is not None:
            from_keys = self.rpe_q(k * self.scale, grid, cls_token).transpose(-2, -1)
            bias = from_keys if bias is None else bias + from_keys
        if self.rpe_v is None:
            mask = None if bias is None else bias.to(q.dtype)
            out = scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=self.scale)
        else:
            logits = q @ k.transpose(-2, -1) * self.scale
            attention = (logits if bias is None else logits + bias).softmax(dim=-1).to(v.dtype)
            out = attention @ v + self.rpe_v(attention, grid, cls_token)
        return self.proj(out.transpose(1, 2).reshape(n, length, dim))


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer MLP, both residual."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4,
        drop_path: float = 0.0,
        rpe: dict | None = None,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads, rpe)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Transform (N, L, D) -> (N, L, D)."""
        x = x + self.drop_path(self.attn(self.norm1(x), grid))
        return x + self.drop_path(self.mlp(self.norm2(x)))
