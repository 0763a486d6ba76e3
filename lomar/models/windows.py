"""Windows and masks: sampling and index arithmetic as pure functions (LoMaR, section 3.1).

Shapes: B images, W windows an image, K patches along a window's side, P pixels along a patch's.
A window is given by the grid row and column of its top-left patch; `masked` is True where a patch
is to be reconstructed. Patches in a window, and pixels in a patch, are in row-major order.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

Generator = torch.Generator | None


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
    draws = torch.rand(batch, number, size * size, generator=generator, device=device)
    masked = torch.zeros(draws.shape, dtype=torch.bool, device=draws.device)
    return masked.scatter_(-1, draws.topk(count, dim=-1).indices, True)


@dataclass(frozen=True)
class WindowSampler:
    """The `windows` of a LoMaR config: how many of which size, how much is masked.

    Args:
        size: patches along a window's side, K.
        number: windows an image, W.
        mask_ratio: share of a window's patches to reconstruct, rounded down to whole patches.
        sampling: 'image' gives each image windows of its own, 'batch' is the released code's way.

    Raises:
        ValueError: a setting out of range, by its config key.
    """

    size: int = 7
    number: int = 4
    mask_ratio: float = 0.8
    sampling: str = 'image'

    def __post_init__(self):
        if self.sampling not in SAMPLERS:
            raise ValueError(
                f"windows.sampling is '{self.sampling}'; allowed: {', '.join(SAMPLERS)}"
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
        masked = sample_masked(
            batch, self.number, self.size, self.num_masked, generator=generator, device=device
        )
        return windows, masked


def masked_indices(masked: Tensor, count: int) -> Tensor:
    """Positions of the `count` masked patches of every window: (B, W, K*K) bool -> (B, W, count).

    `count` is an argument so that shapes are known without asking the device.
    """
    return masked.to(torch.uint8).topk(count, dim=-1).indices


def patch_coordinates(windows: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Grid row and grid column of every patch of every window: (B, W, 2) -> two (B, W, K*K)."""
    offset = torch.arange(size, device=windows.device)
    rows = (windows[..., 0, None] + offset)[..., :, None].expand(*windows.shape[:2], size, size)
    columns = (windows[..., 1, None] + offset)[..., None, :].expand(*windows.shape[:2], size, size)
    return rows.flatten(2), columns.flatten(2)


def patch_view(images: Tensor, patch_size: int) -> Tensor:
    """See images (B, C, H, W) as patches (B, H/P, W/P, P, P, C) without a copy."""
    batch, channels, height, width = images.shape
    patches = images.view(
        batch, channels, height // patch_size, patch_size, width // patch_size, patch_size
    )
    return patches.permute(0, 2, 4, 3, 5, 1)


def cut_patches(images: Tensor, windows: Tensor, size: int, patch_size: int) -> Tensor:
    """Cut the windows' patches, and nothing else, out of images (B, C, H, W).

    Returns:
        (B, W, K*K, P*P*C), pixels in the order row, column, channel.
    """
    rows, columns = patch_coordinates(windows, size)
    image = torch.arange(len(images), device=images.device)[:, None, None]
    return patch_view(images.contiguous(), patch_size)[image, rows, columns].flatten(3)


def paste_patches(images: Tensor, patches: Tensor, windows: Tensor, patch_size: int) -> Tensor:
    """Copy of images (B, C, H, W) with windows' patches put in their places; later windows win.

    Args:
        patches: (B, W, K*K, P*P*C), as `cut_patches` returns them.
    """
    images = images.clone(memory_format=torch.contiguous_format)
    view = patch_view(images, patch_size)
    rows, columns = patch_coordinates(windows, round(patches.shape[2] ** 0.5))
    image = torch.arange(len(images), device=images.device)[:, None]
    for window in range(windows.shape[1]):
        place = image, rows[:, window], columns[:, window]
        view[place] = patches[:, window].unflatten(-1, view.shape[3:])
    return images
