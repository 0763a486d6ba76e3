"""Attention with iRPE over long maps by FlexAttention, which stores neither logits nor bias."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from lomar.models.rpe import RelativePosition, piecewise_index, side


def supports(table: object) -> bool:
    """Return whether `flex_attend` supports a table."""
    return (
        isinstance(table, RelativePosition)
        and table.method == 'product'
        and table.mode == 'contextual'
    )


def flex_attend(
    q: Tensor, k: Tensor, v: Tensor, table: RelativePosition, grid: tuple[int, int], scale: float
) -> Tensor:
    """Attend with a contextual 'product' table over a map without a cls token.

    On a GPU the kernel is compiled once per shape. On a CPU FlexAttention has no gradients.

    Args:
        q, k, v: unscaled queries, keys and values (N, heads, H * W, head_dim).

    Returns:
        (N, heads, H * W, head_dim).
    """
    by_bucket = q @ table.lookup_table_weight.to(q.dtype)  # (N, heads, H * W, buckets)
    # A bucket is a pair of bins. A short table contains the bin of each offset.
    rows, columns = (
        piecewise_index(torch.arange(1 - extent, extent, device=q.device), table.ratio)
        + side(table.ratio) // 2
        for extent in grid
    )
    attend = _compiled() if q.is_cuda else _attend
    return attend(q, k, v, by_bucket, rows, columns, side(table.ratio), scale)


def _attend(q, k, v, by_bucket, rows, columns, bins: int, scale: float) -> Tensor:
    height, width = (len(rows) + 1) // 2, (len(columns) + 1) // 2

    def add_position(score, image, head, query, key):
        down = rows[query // width - key // width + height - 1]
        right = columns[query % width - key % width + width - 1]
        return score + by_bucket[image, head, query, down * bins + right]

    # PyTorch annotates a union; the result is a tensor unless `return_aux` is given.
    return flex_attention(q, k, v, score_mod=add_position, scale=scale)  # type: ignore[return-value]


@lru_cache(maxsize=1)
def _compiled():
    return torch.compile(_attend, dynamic=False)
