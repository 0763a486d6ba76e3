"""Learned absolute positions: a table for one grid of patches, resized to others."""

import math

from timm.layers import resample_abs_pos_embed
from torch import Tensor


def resize_positions(
    table: Tensor, grid: tuple[int, int], learned: tuple[int, int], prefix_tokens: int
) -> Tensor:
    """Resize absolute positions (1, prefix + L, D) from the grid `learned` to `grid`.

    Bicubic without antialiasing, as in detectron2 and in MAE's fine-tuning.
    """
    return resample_abs_pos_embed(table, list(grid), list(learned), prefix_tokens, antialias=False)


class LearnedPositions:
    """Part of a backbone that holds the parameter `pos_embed`, or none.

    The table is learned for the grid of `pretrain_img_size`. Earlier versions learned it for that
    of `img_size`; weights with such a table are loaded as they are, and its grid is kept.
    """

    def position_grid(self, length: int) -> tuple[int, int] | None:
        """Grid of a table with `length` entries; None if the backbone has no such grid."""
        grids = (self.grid(size) for size in (self.pretrain_img_size, self.img_size))
        return next((g for g in grids if math.prod(g) + self.with_cls_token == length), None)

    def resized_positions(self, grid: tuple[int, int]) -> Tensor:
        """Positions (1, L, D) of an image whose patches lie on `grid`, the cls token's first."""
        learned = self.position_grid(self.pos_embed.shape[1])
        return resize_positions(self.pos_embed, grid, learned, int(self.with_cls_token))

    def adopt_positions(self, table: Tensor | None) -> None:
        """Take over the size of a table that fits; values are loaded afterwards.

        The parameter stays the same object, so that an optimizer keeps it.
        """
        own = getattr(self, 'pos_embed', None)
        if own is None or table is None or table.shape[1:2] == own.shape[1:2]:
            return
        if table.ndim == 3 and self.position_grid(table.shape[1]):
            own.data = own.data.new_zeros(1, table.shape[1], own.shape[2])

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        self.adopt_positions(state_dict.get(f'{prefix}pos_embed'))
        super()._load_from_state_dict(state_dict, prefix, *args)
