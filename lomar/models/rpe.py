"""Relative position encoding for images, iRPE (Wu et al. 2021, arXiv 2107.14222), in plain PyTorch.

The offset of two tokens in the grid determines the bucket of the pair. A learned table contains a
scalar (`mode='bias'`) or a vector that is multiplied with the token (`mode='contextual'`) per
bucket. Buckets saturate with distance, so that one table is valid for every height and width.
"""

import math
from functools import lru_cache, partial
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn

from lomar.utils import check_choice, check_flags, check_number

METHODS = ('euclidean', 'quant', 'product', 'cross_rows', 'cross_cols')


def piecewise_index(offset: Tensor, ratio: float) -> Tensor:
    """Return the signed bucket of an offset (eq. 18 of the iRPE paper).

    Offsets up to `alpha` are rounded. Larger offsets grow logarithmically up to int(`beta`).
    """
    alpha, beta, gamma = ratio, 2 * ratio, 8 * ratio  # 1 : 2 : 8, section 4.1 of the iRPE paper
    distance = offset.abs().double()
    growth = (distance.clamp(min=alpha) / alpha).log() / math.log(gamma / alpha)
    far = alpha + growth * (beta - alpha)
    # Values are rounded before the limit. The limit (3.8 at ratio 1.9) is truncated afterwards.
    bucket = torch.where(distance <= alpha, distance.round(), far.round().clamp(max=beta).floor())
    return (offset.sign() * bucket).long()


def side(ratio: float) -> int:
    """Return the number of buckets along one axis, -int(beta) ... int(beta)."""
    return 2 * int(2 * ratio) + 1


def num_buckets(method: str, ratio: float) -> int:
    """Return the number of buckets for `method`; the last bucket is for the cls token."""
    return (side(ratio) ** 2 if method == 'product' else side(ratio)) + 1


def bucket_ids(
    method: str, height: int, width: int, ratio: float = 1.9, cls_token: bool = True
) -> Tensor:
    """Return the bucket of every (query, key) pair of a grid in row-major order.

    Args:
        method: one of `METHODS`.
        ratio: scale of the piecewise index; 1.9 in LoMaR.
        cls_token: whether token 0 is a cls token; all pairs with it have the last bucket.

    Returns:
        (L, L) int64, L = height * width (+ 1).
    """
    check_choice('rpe.method', method, METHODS)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
    down = rows.flatten()[:, None] - rows.flatten()
    right = columns.flatten()[:, None] - columns.flatten()
    centre = side(ratio) // 2
    if method == 'product':
        ids = (piecewise_index(down, ratio) + centre) * side(ratio)
        ids += piecewise_index(right, ratio) + centre
    else:
        squared = down.square() + right.square()
        offset = {
            'euclidean': squared.double().sqrt().round().long(),
            'quant': squared,
            'cross_rows': down,
            'cross_cols': right,
        }[method]
        ids = piecewise_index(offset, ratio) + centre
    if cls_token:
        ids = nn.functional.pad(ids, (1, 0, 1, 0), value=num_buckets(method, ratio) - 1)
    return ids


@lru_cache(maxsize=8)  # a 64 x 64 grid takes 134 MB
def _kept_bucket_ids(*settings, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # a later caller may need gradients
        return bucket_ids(*settings).to(device)


@torch.compiler.assume_constant_result
def constant_bucket_ids(*settings, device: torch.device) -> Tensor:
    """Return cached `bucket_ids` on a device, which is a constant for `torch.compile`."""
    return _kept_bucket_ids(*settings, device=device)


def is_exporting() -> bool:
    """Return whether `torch.export` traces the caller; `torch.compile` does not count."""
    return torch.compiler.is_compiling() and not torch.compiler.is_dynamo_compiling()


class RelativePosition(nn.Module):
    """Learned table over the buckets of one method.

    Args:
        num_heads: number of heads with separate tables; 1 = one table for all heads.
        transposed: True for a term of the logits (q or k), False for a term of the output (v).
    """

    def __init__(
        self, method: str, mode: str, ratio: float, num_heads: int, head_dim: int, transposed: bool
    ):
        super().__init__()
        self.method, self.mode, self.ratio, self.transposed = method, mode, ratio, transposed
        buckets = num_buckets(method, ratio)
        # Names and layouts are those of the original code, whose files load unchanged.
        if mode == 'bias':
            self.lookup_table_bias = nn.Parameter(torch.zeros(num_heads, buckets))
        else:
            shape = (head_dim, buckets) if transposed else (buckets, head_dim)
            self.lookup_table_weight = nn.Parameter(torch.zeros(num_heads, *shape))

    def forward(
        self, x: Tensor, grid: tuple[int, int], cls_token: bool, rows: slice = slice(None)
    ) -> Tensor:
        """Return the positional term of the logits or of the output.

        Args:
            x: for logits, queries or keys (N, heads, L, head_dim); for the output, attention
                weights (N, heads, L, L).
            rows: the part of the L tokens that `x` contains; for logits only.

        Returns:
            (N or 1, heads or 1, L, L) for logits, (N, heads, L, head_dim) for the output.
        """
        ids = self.ids(grid, cls_token, x.device)[rows].long()  # small integers in exported files
        if self.mode == 'bias':
            return self.lookup_table_bias[:, ids][None]
        if self.transposed:
            # With at most as many keys as buckets, `gather_columns` needs no more work.
            few_keys = ids.shape[1] <= self.lookup_table_weight.shape[-1]
            return self.gather_columns(x, ids) if few_keys else self.gather_logits(x, ids)
        by_bucket = x.new_zeros(*x.shape[:3], self.lookup_table_weight.shape[1])
        # Sum the attention weights per bucket.
        return by_bucket.scatter_add(-1, ids.expand_as(x), x) @ self.lookup_table_weight

    def gather_logits(self, x: Tensor, ids: Tensor) -> Tensor:
        """Return the term (N, heads, L, L): multiply queries with all buckets, then gather."""
        by_bucket = x @ self.lookup_table_weight  # (N, heads, L, buckets)
        return by_bucket.gather(-1, ids.expand(*x.shape[:2], *ids.shape))

    def gather_columns(self, x: Tensor, ids: Tensor) -> Tensor:
        """Return the term (N, heads, L, L): gather columns of the table, then multiply.

        The gradient is summed in a small table in a fixed order. The gradient of `gather_logits`
        is summed over all logits, on a GPU by atomic operations in any order.
        """
        table = self.lookup_table_weight.to(x.dtype).permute(2, 0, 1)
        # Per head (or all heads) and query: a matrix (head_dim, L) with the columns of the keys.
        columns = nn.functional.embedding(ids, table.flatten(1)).unflatten(2, table.shape[1:])
        columns = columns.permute(2, 0, 3, 1).flatten(0, 1)
        x = x.unflatten(1, (table.shape[1], -1)).permute(1, 3, 0, 2, 4)  # (heads, L, N, sharing, d)
        term = x.flatten(2, 3).flatten(0, 1) @ columns
        return term.view(*x.shape[:4], -1).permute(2, 0, 3, 1, 4).flatten(1, 2)

    def ids(self, grid: tuple[int, int], cls_token: bool, device: torch.device) -> Tensor:
        """Return the bucket of every pair of tokens, (L, L) int64."""
        settings = (self.method, *grid, self.ratio, cls_token)
        if is_exporting():
            # Tensors of torch.export have no values and must not be cached.
            return bucket_ids(*settings).to(device)
        return constant_bucket_ids(*settings, device=device)


class CrossRelativePosition(nn.Module):
    """Sum of a table over rows and one over columns (`method='cross'`)."""

    def __init__(self, **options):
        super().__init__()
        self.rp_rows = RelativePosition('cross_rows', **options)
        self.rp_cols = RelativePosition('cross_cols', **options)

    def forward(self, x: Tensor, *place) -> Tensor:
        """Return the sum of both terms; see `RelativePosition.forward`."""
        return self.rp_rows(x, *place) + self.rp_cols(x, *place)


class DecomposedRelativePosition(nn.Module):
    """Tables over row offsets and column offsets, shared by the heads (MViTv2, ViTDet).

    The tables are initialized with zeros, and interpolated for grids of another size.

    Args:
        grid: (height, width) of the tables.
    """

    def __init__(self, grid: tuple[int, int], head_dim: int):
        super().__init__()
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid[0] - 1, head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid[1] - 1, head_dim))

    def forward(
        self, q: Tensor, grid: tuple[int, int], cls_token: bool, rows: slice = slice(None)
    ) -> Tensor:
        """Return the term of the logits for the queries `rows`, which are whole rows of the grid.

        Args:
            q: unscaled queries (N, heads, rows, head_dim).

        Returns:
            (N, heads, rows, L).
        """
        height, width = grid
        q = q.unflatten(2, (-1, width))
        first = (rows.start or 0) // width
        down = torch.arange(first, first + q.shape[2], device=q.device)
        across = torch.arange(width, device=q.device)
        table_h = _resize_table(self.rel_pos_h, height)
        table_w = _resize_table(self.rel_pos_w, width)
        offset_h = down[:, None] - torch.arange(height, device=q.device) + height - 1
        offset_w = across[:, None] - across + width - 1
        bias_h = torch.einsum('nhrwc,rkc->nhrwk', q, table_h[offset_h].to(q.dtype))
        bias_w = torch.einsum('nhrwc,wkc->nhrwk', q, table_w[offset_w].to(q.dtype))
        return (bias_h[..., :, None] + bias_w[..., None, :]).flatten(4).flatten(2, 3)


def _resize_table(table: Tensor, side: int) -> Tensor:
    """Interpolate a table of offsets (2 * S - 1, C) to (2 * side - 1, C)."""
    if len(table) == 2 * side - 1:
        return table
    return nn.functional.interpolate(table.T[None], size=2 * side - 1, mode='linear')[0].T


def build_rpe(
    num_heads: int,
    head_dim: int,
    method: str = 'product',
    mode: str = 'contextual',
    on: str = 'k',
    ratio: float = 1.9,
    shared_heads: bool = True,
) -> dict[str, nn.Module]:
    """Build the tables of one attention layer; the defaults are LoMaR's.

    Args:
        on: any of the letters 'q', 'k', 'v'. 'k' adds q . table to the logits, 'q' adds k . table,
            'v' adds attention . table to the output.

    Returns:
        Modules by letter.
    """
    check_choice('rpe.method', method, (*METHODS, 'cross'))
    check_choice('rpe.mode', mode, ('bias', 'contextual'))
    check_flags('rpe', shared_heads=shared_heads)
    if not isinstance(on, str) or not on or set(on) - set('qkv') or len(set(on)) < len(on):
        raise ValueError(f"rpe.on is '{on}'; allowed: one to three different letters of q, k, v")
    if mode == 'bias' and 'v' in on:
        raise ValueError("rpe.on contains 'v', which needs rpe.mode='contextual' (found 'bias')")
    check_number('rpe.ratio', ratio, 1)
    table = CrossRelativePosition if method == 'cross' else partial(RelativePosition, method)
    heads = 1 if shared_heads else num_heads
    options: dict[str, Any] = dict(mode=mode, ratio=ratio, num_heads=heads, head_dim=head_dim)
    return {letter: table(**options, transposed=letter != 'v') for letter in on}


def check_rpe(options: dict | None) -> None:
    """Raise a ValueError unless `backbone.rpe` is None or a dict of options of `build_rpe`."""
    known = [key for key in signature(build_rpe).parameters if key not in ('num_heads', 'head_dim')]
    if options is not None and not (isinstance(options, dict) and options.keys() <= {*known}):
        raise ValueError(f'backbone.rpe is {options!r}; allowed: a dict of {", ".join(known)}')
