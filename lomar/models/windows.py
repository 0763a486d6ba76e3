"""Sampling of windows and masks as pure functions of a random generator (LoMaR, section 3.1).

Shapes: B images, W windows per image, K x K patches per window in row-major order. A window is
given by the grid row and column of its top-left patch; `masked` is True where a patch is to be
reconstructed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Generator = torch.Generator | None

MAX_BLOCKS = 16  # enough to cover 80 % of a window; what no block covers is masked last
BLOCK_AREA = (0.08, 0.38)  # of the window: BEiT's 16 to 75 of 196 patches
BLOCK_ASPECT = (0.3, 1 / 0.3)  # height / width, as BEiT's


def count_masked(size: int, mask_ratio: float) -> int:
    """Masked patches in a window of `size` x `size`, rounded down as in the original code."""
    return int(size * size * mask_ratio)


def count_positions(grid: tuple[int, int], size: int) -> tuple[int, int]:
    """Rows and columns at which a window of `size` x `size` patches fits into `grid`."""
    return grid[0] - size + 1, grid[1] - size + 1


def sample_windows(
    batch: int,
    grid: tuple[int, int],
    size: int,
    number: int,
    *,
    generator: Generator = None,
    device=None,
) -> Tensor:
    """Draw `number` distinct windows for every image, each position equally likely.

    Returns:
        (B, W, 2) int64, row and column of the top-left patch, on `device`.
    """
    rows, columns = count_positions(grid, size)
    # The `number` largest of independent uniform draws are a uniform draw without replacement.
    draws = torch.rand(batch, rows * columns, generator=generator, device=device)
    position = draws.topk(number, dim=1).indices
    return torch.stack([position // columns, position % columns], dim=-1)


def sample_windows_batch(
    batch: int,
    grid: tuple[int, int],
    size: int,
    number: int,
    *,
    generator: Generator = None,
    device=None,
) -> Tensor:
    """Draw windows in the arrangement of the released code, its layout slip included.

    One set of `number` windows serves the whole batch; no two of them share a row or a column. The
    release stacks sequences window by window but their windows image by image, so that sequence
    w * B + n shows image n through window (w * B + n) % W: with B divisible by W an image sees a
    single window, W times.

    Returns:
        (B, W, 2) int64, row and column of the top-left patch, on `device`.
    """
    drawn = torch.stack(
        [
            torch.randperm(extent, generator=generator, device=device)[:number]
            for extent in count_positions(grid, size)
        ],
        dim=-1,
    )
    sequence = torch.arange(number * batch, device=device).view(number, batch).T
    return drawn[sequence % number]


SAMPLERS = {'image': sample_windows, 'batch': sample_windows_batch}


def sample_masked(
    batch: int, number: int, size: int, count: int, *, generator: Generator = None, device=None
) -> Tensor:
    """Mask exactly `count` patches of every window, each set of patches equally likely.

    Returns:
        (B, W, K*K) bool, True = reconstruct, on `device`.
    """
    return _largest(
        torch.rand(batch, number, size * size, generator=generator, device=device), count
    )


def _largest(values: Tensor, count: int) -> Tensor:
    """True at the `count` largest values of each window."""
    chosen = torch.zeros(values.shape, dtype=torch.bool, device=values.device)
    return chosen.scatter_(-1, values.topk(count, dim=-1).indices, True)


def sample_blocks(
    batch: int, number: int, size: int, count: int, *, generator: Generator = None, device=None
) -> Tensor:
    """Mask exactly `count` patches of every window, rectangle by rectangle (BEiT, algorithm 1).

    Of the last rectangle only as many patches as are still needed are masked, any of them.

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
    # Patches under earlier blocks come first, and under the same block in any order.
    earlier = covered.cumsum(2).ne(0).sum(2)
    ties = torch.rand(earlier.shape, generator=generator, device=device)
    return _largest(earlier + ties, count)


MASKS = {'random': sample_masked, 'block': sample_blocks}


@dataclass(frozen=True)
class WindowSampler:
    """Windows of one size: how many, and how much of them is masked.

    Args:
        size: patches along a window's side, K.
        number: windows an image, W.
        mask_ratio: share of a window's patches to reconstruct, rounded down to whole patches.
        sampling: 'image' gives each image windows of its own, 'batch' is the released code's way.
        masking: 'random' hides single patches, 'block' rectangles of them.

    Raises:
        ValueError: a setting out of range, by its config key.
    """

    size: int = 7
    number: int = 4
    mask_ratio: float = 0.8
    sampling: str = 'image'
    masking: str = 'random'

    def __post_init__(self):
        for key, allowed in (('sampling', SAMPLERS), ('masking', MASKS)):
            if getattr(self, key) not in allowed:
                raise ValueError(
                    f"windows.{key} is '{getattr(self, key)}'; allowed: {', '.join(allowed)}"
                )
        if self.size < 2:
            raise ValueError(f'windows.size is {self.size}; allowed: 2 patches or more')
        if self.number < 1:
            raise ValueError(f'windows.number is {self.number}; allowed: 1 or more')
        patches = self.size**2
        if not 0 < self.num_masked < patches:
            raise ValueError(
                f'windows.mask_ratio is {self.mask_ratio}: it masks {self.num_masked} of the '
                f'{patches} patches of a window; allowed: at least {1 / patches:.3f} (one patch) '
                'and less than 1'
            )

    @property
    def num_masked(self) -> int:
        """Masked patches in a window."""
        return count_masked(self.size, self.mask_ratio)

    def check(self, grid: tuple[int, int]) -> None:
        """Raise a ValueError that names the config key if the windows do not fit into `grid`."""
        if self.size > min(grid):
            raise ValueError(
                f'windows.size is {self.size} patches, but an image has a grid of '
                f'{grid[0]} x {grid[1]}; allowed: 2 to {min(grid)} (or larger images, or a smaller '
                'backbone.patch_size)'
            )
        rows, columns = count_positions(grid, self.size)
        # In the released arrangement no two windows share a row or a column.
        most = rows * columns if self.sampling == 'image' else min(rows, columns)
        if self.number > most:
            raise ValueError(
                f'windows.number is {self.number}, but {self.size} x {self.size} windows have '
                f"{most} distinct positions with sampling='{self.sampling}' in a grid of "
                f'{grid[0]} x {grid[1]}; allowed: 1 to {most}'
            )

    def __call__(
        self, batch: int, grid: tuple[int, int], generator: Generator = None, device=None
    ) -> tuple[Tensor, Tensor]:
        """Draw windows (B, W, 2) int64 and masked (B, W, K*K) bool."""
        self.check(grid)
        windows = SAMPLERS[self.sampling](
            batch, grid, self.size, self.number, generator=generator, device=device
        )
        masked = MASKS[self.masking](
            batch, self.number, self.size, self.num_masked, generator=generator, device=device
        )
        return windows, masked


def build_samplers(
    size: int | Sequence[int] = 7,
    number: int | Sequence[int] = 4,
    mask_ratio: float | Sequence[float] = 0.8,
    **shared,
) -> tuple[WindowSampler, ...]:
    """The `windows` of a LoMaR config: a sampler for each size.

    Args:
        size, number, mask_ratio: as `WindowSampler`; lists for several sizes, where a single value
            is that of all sizes.
        shared: the other settings of `WindowSampler`.

    Raises:
        ValueError: a setting out of range, or lists that do not go together, by the config key.
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
    """Positions of the `count` masked patches of every window: (B, W, K*K) bool -> (B, W, count).

    `count` is an argument so that shapes are known without asking the device.
    """
    return masked.to(torch.uint8).topk(count, dim=-1).indices
