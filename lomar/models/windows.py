"""Sampling of windows and masks as pure functions of a random generator (LoMaR, section 3.1).

Shapes: B images, W windows per image, K x K patches per window in row-major order. A window is
given by the grid row and column of its top-left patch. `masked` is True for patches to
reconstruct.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lomar.utils import check_choice, check_least, check_number

Generator = torch.Generator | None
Grid = tuple[int, int]  # rows and columns of patches

MAX_BLOCKS = 16  # enough to cover 80 % of a window; uncovered patches are masked last
BLOCK_AREA = (0.08, 0.38)  # of the window: BEiT's 16 to 75 of 196 patches
BLOCK_ASPECT = (0.3, 1 / 0.3)  # height / width, as BEiT's


def count_positions(grid: Grid, size: int) -> tuple[int, int]:
    """Return the number of row and column positions of a window in `grid`."""
    return grid[0] - size + 1, grid[1] - size + 1


def sample_windows(
    batch: int, grid: Grid, size: int, number: int, *, generator: Generator = None, device=None
) -> Tensor:
    """Draw `number` distinct windows per image, each position equally likely.

    Returns:
        (B, W, 2) int64, row and column of the top-left patch, on `device`.
    """
    rows, columns = count_positions(grid, size)
    # The `number` largest of independent uniform draws are a uniform draw without replacement.
    draws = torch.rand(batch, rows * columns, generator=generator, device=device)
    position = draws.topk(number, dim=1).indices
    return torch.stack([position // columns, position % columns], dim=-1)


def sample_windows_batch(
    batch: int, grid: Grid, size: int, number: int, *, generator: Generator = None, device=None
) -> Tensor:
    """Draw windows as the released code does, including the error in its layout.

    The batch shares one set of `number` windows with distinct rows and distinct columns. The
    release orders sequences by window but window positions by image. So sequence w * B + n contains
    image n and window (w * B + n) % W. If W divides B, an image gets one window W times.

    Returns:
        (B, W, 2) int64, row and column of the top-left patch, on `device`.
    """
    extents = count_positions(grid, size)
    drawn = [torch.randperm(n, generator=generator, device=device)[:number] for n in extents]
    sequence = torch.arange(number * batch, device=device).view(number, batch).T
    return torch.stack(drawn, dim=-1)[sequence % number]


SAMPLERS = {'image': sample_windows, 'batch': sample_windows_batch}


def sample_masked(
    batch: int, number: int, size: int, count: int, *, generator: Generator = None, device=None
) -> Tensor:
    """Mask exactly `count` patches per window, each set of patches equally likely.

    Returns:
        (B, W, K*K) bool, True = reconstruct, on `device`.
    """
    draws = torch.rand(batch, number, size * size, generator=generator, device=device)
    return _largest(draws, count)


def _largest(values: Tensor, count: int) -> Tensor:
    """Return a mask that is True at the `count` largest values of each window."""
    chosen = torch.zeros(values.shape, dtype=torch.bool, device=values.device)
    return chosen.scatter_(-1, values.topk(count, dim=-1).indices, True)


def sample_blocks(
    batch: int, number: int, size: int, count: int, *, generator: Generator = None, device=None
) -> Tensor:
    """Mask exactly `count` patches per window, rectangle by rectangle (BEiT, algorithm 1).

    In the last rectangle, random patches are masked until `count` is reached.

    Returns:
        (B, W, K*K) bool, True = reconstruct, on `device`.
    """
    draws = torch.rand(batch, number, MAX_BLOCKS, 4, generator=generator, device=device)
    area, aspect, *corner = draws.unbind(-1)
    (least, most), (flat, tall) = BLOCK_AREA, map(math.log, BLOCK_ASPECT)
    area = size**2 * (least + (most - least) * area)
    aspect = (flat + (tall - flat) * aspect).exp()
    inside = []
    for place, side in zip(corner, ((area * aspect).sqrt(), (area / aspect).sqrt()), strict=True):
        side = side.round().clamp(1, size)
        first = (place * (size - side + 1)).floor()
        offset = torch.arange(size, device=draws.device) - first[..., None]
        inside.append((offset >= 0) & (offset < side[..., None]))  # (B, W, MAX_BLOCKS, K)
    covered = (inside[0][..., :, None] & inside[1][..., None, :]).flatten(3)
    # Patches in earlier blocks come first; within a block the order is random.
    earlier = covered.cumsum(2).ne(0).sum(2)
    ties = torch.rand(earlier.shape, generator=generator, device=device)
    return _largest(earlier + ties, count)


MASKS = {'random': sample_masked, 'block': sample_blocks}


@dataclass(frozen=True)
class WindowSampler:
    """Sampler of windows of one size and of their masks.

    Args:
        size: side of a window in patches, K.
        number: windows per image, W.
        mask_ratio: fraction of masked patches per window, rounded down to whole patches.
        sampling: 'image' = separate windows per image; 'batch' = as in the released code.
        masking: 'random' = single patches; 'block' = rectangles of patches.
    """

    size: int = 7
    number: int = 4
    mask_ratio: float = 0.8
    sampling: str = 'image'
    masking: str = 'random'

    def __post_init__(self):
        check_choice('windows.sampling', self.sampling, SAMPLERS)
        check_choice('windows.masking', self.masking, MASKS)
        check_least('windows', 2, size=self.size)
        check_least('windows', number=self.number)
        check_number('windows.mask_ratio', self.mask_ratio, -math.inf)
        patches = self.size**2
        if not 0 < self.num_masked < patches:
            raise ValueError(
                f'windows.mask_ratio is {self.mask_ratio}: it masks {self.num_masked} of the '
                f'{patches} patches of a window; allowed: at least {1 / patches:.3f} (one patch) '
                'and less than 1'
            )

    @property
    def num_masked(self) -> int:
        """Return the number of masked patches per window, rounded down as in the original code."""
        return int(self.size * self.size * self.mask_ratio)

    def check(self, grid: Grid) -> None:
        """Raise a ValueError with the config key if the windows do not fit into `grid`."""
        if self.size > min(grid):
            raise ValueError(
                f'windows.size is {self.size} patches, but an image has a grid of '
                f'{grid[0]} x {grid[1]}; allowed: 2 to {min(grid)} (or larger images, or a smaller '
                'backbone.patch_size)'
            )
        rows, columns = count_positions(grid, self.size)
        # In the released code, windows have distinct rows and distinct columns.
        most = rows * columns if self.sampling == 'image' else min(rows, columns)
        if self.number > most:
            raise ValueError(
                f'windows.number is {self.number}, but {self.size} x {self.size} windows have '
                f"{most} distinct positions with sampling='{self.sampling}' in a grid of "
                f'{grid[0]} x {grid[1]}; allowed: 1 to {most}'
            )

    def __call__(
        self, batch: int, grid: Grid, generator: Generator = None, device=None
    ) -> tuple[Tensor, Tensor]:
        """Draw windows (B, W, 2) int64 and masked (B, W, K*K) bool."""
        self.check(grid)
        draw, mask = SAMPLERS[self.sampling], MASKS[self.masking]
        source = dict(generator=generator, device=device)
        windows = draw(batch, grid, self.size, self.number, **source)
        return windows, mask(batch, self.number, self.size, self.num_masked, **source)


def build_samplers(
    size: int | Sequence[int] = 7,
    number: int | Sequence[int] = 4,
    mask_ratio: float | Sequence[float] = 0.8,
    **shared,
) -> tuple[WindowSampler, ...]:
    """Build one sampler per window size from the `windows` of a LoMaR config.

    Args:
        size, number, mask_ratio: as in `WindowSampler`; a list has one value per window size, and
            a single value is used for all sizes.
        shared: the other settings of `WindowSampler`.
    """
    settings = dict(size=size, number=number, mask_ratio=mask_ratio)
    lists = {key: list(value) for key, value in settings.items() if isinstance(value, Sequence)}
    lengths = {len(value) for value in lists.values()} or {1}
    if len(lengths) > 1 or 0 in lengths:
        found = ', '.join(f'windows.{key}={value}' for key, value in lists.items())
        raise ValueError(f'{found}; allowed: lists of one length, an entry for each size')
    (count,) = lengths
    columns = [lists.get(key, [value] * count) for key, value in settings.items()]
    return tuple(WindowSampler(*each, **shared) for each in zip(*columns, strict=True))


def masked_indices(masked: Tensor, count: int) -> Tensor:
    """Return the indices (B, W, count) of the masked patches of `masked` (B, W, K*K).

    `count` is an argument, so that shapes are known without a synchronization with the device.
    """
    return masked.to(torch.uint8).topk(count, dim=-1).indices
