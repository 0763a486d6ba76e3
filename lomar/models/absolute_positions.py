"""Learned absolute positions: a table for one patch grid, and its resize to other grids."""

import math
from collections.abc import Callable

from timm.layers import resample_abs_pos_embed
from torch import Tensor, nn


def resize_positions(
    table: Tensor, grid: tuple[int, int], learned: tuple[int, int], prefix_tokens: int
) -> Tensor:
    """Resize absolute positions (1, prefix + L, D) from the grid `learned` to `grid`.

    The resize is bicubic without antialiasing, as in detectron2 and in MAE's fine-tuning.
    """
    return resample_abs_pos_embed(table, list(grid), list(learned), prefix_tokens, antialias=False)


class LearnedPositions(nn.Module):
    """Mixin of backbones with an optional parameter `pos_embed`.

    The table is learned for the grid of `pretrain_img_size`. In checkpoints of earlier versions the
    table has the grid of `img_size`. Such a table is loaded unchanged, and its grid is kept.
    """

    img_size: tuple[int, int]
    pretrain_img_size: tuple[int, int]
    with_cls_token: bool
    pos_embed: nn.Parameter
    grid: Callable[..., tuple[int, int]]  # from pixels to patches

    def position_grid(self, length: int) -> tuple[int, int] | None:
        """Return the grid of a table with `length` entries; None if no grid fits."""
        grids = (self.grid(size) for size in (self.pretrain_img_size, self.img_size))
        return next((g for g in grids if math.prod(g) + self.with_cls_token == length), None)

    def resized_positions(self, grid: tuple[int, int]) -> Tensor:
        """Return positions (1, L, D) for a patch grid; the position of the cls token is first."""
        learned = self.position_grid(self.pos_embed.shape[1])
        assert learned is not None  # `adopt_positions` accepts no other table
        return resize_positions(self.pos_embed, grid, learned, int(self.with_cls_token))

    def adopt_positions(self, table: Tensor | None) -> None:
        """Resize `pos_embed` to the shape of a valid table; its values are loaded afterwards.

        The parameter remains the same object, so an optimizer's reference stays valid.
        """
        own = getattr(self, 'pos_embed', None)
        if own is None or table is None or table.shape[1:2] == own.shape[1:2]:
            return
        if table.ndim == 3 and self.position_grid(table.shape[1]):
            own.data = own.data.new_zeros(1, table.shape[1], own.shape[2])

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        self.adopt_positions(state_dict.get(f'{prefix}pos_embed'))
        super()._load_from_state_dict(state_dict, prefix, *args)
