"""Bucket numbers of relative positions as constants of an exported file."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lomar.models.rpe import RelativePosition


@contextmanager
def constant_buckets(model: nn.Module) -> Iterator[None]:
    """Make the bucket numbers of a model constants, which are computed in its first forward pass.

    Otherwise a file computes the (L, L) numbers again for every block, and for every part of a long
    sequence. Blocks with the same grid share a table. The grid is that of the first image size, so
    the model supports no other size within the block.
    """
    tables: dict[tuple, Tensor] = {}
    places = [each for each in model.modules() if isinstance(each, RelativePosition)]
    for place in places:
        place.ids = _constant(place, tables)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for place in places:
            del place.ids


def _constant(place: RelativePosition, tables: dict[tuple, Tensor]):
    """Return a replacement of `place.ids` that shares tables with the other places."""
    compute = place.ids

    def ids(grid: tuple[int, int], cls_token: bool, device: torch.device) -> Tensor:
        key = (place.method, place.ratio, grid, cls_token, device)
        if key not in tables:
            numbers = compute(grid, cls_token, device)
            # An eighth of the size; 50 buckets are usual. `RelativePosition` converts a part.
            dtype = torch.uint8 if numbers.max() < 256 else torch.int32
            tables[key] = numbers.to(dtype)
        return tables[key]

    return ids
