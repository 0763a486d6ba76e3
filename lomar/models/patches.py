"""Index arithmetic for images, patches and windows, as pure functions.

Shapes: B images, W windows per image, K x K patches per window, P x P pixels per patch. Patches in
a window and pixels in a patch are in row-major order.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Images = Tensor | Sequence[Tensor]  # (B, C, H, W), or B images (C, H, W) of different sizes


def patch_coordinates(windows: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return grid rows and columns, (B, W, K*K) each, of all patches of windows (B, W, 2)."""
    patch = torch.arange(size * size, device=windows.device)
    return windows[..., 0, None] + patch // size, windows[..., 1, None] + patch % size


def patch_view(images: Tensor, patch_size: int) -> Tensor:
    """Return a view of images (B, C, H, W) as patches (B, H/P, W/P, P, P, C)."""
    patches = images.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size))
    return patches.permute(0, 2, 4, 3, 5, 1)  # from (B, C, H/P, P, W/P, P)


def patches_at(images: Tensor, rows: Tensor, columns: Tensor, patch_size: int) -> Tensor:
    """Cut patches out of images (B, C, H, W) at grid coordinates `rows` and `columns`, (B, ...).

    Returns:
        (B, ..., P*P*C), pixels in the order row, column, channel.
    """
    image = torch.arange(len(images), device=images.device).view(-1, *[1] * (rows.ndim - 1))
    return patch_view(images.contiguous(), patch_size)[image, rows, columns].flatten(-3)


def cut_patches(images: Tensor, windows: Tensor, size: int, patch_size: int) -> Tensor:
    """Cut the patches of windows (B, W, 2) out of images: (B, W, K*K, P*P*C)."""
    return patches_at(images, *patch_coordinates(windows, size), patch_size)


def map_sizes(function: Callable, images: Images, *per_image: Tensor):
    """Return `function(images, *per_image)`; for a list, apply it to the images of each size.

    Args:
        function: takes images (B, C, H, W) and their entries of `per_image`, and returns a tensor
            (B, ...) or a tuple of tensors.
    """
    if isinstance(images, Tensor):
        return function(images, *per_image)
    groups = defaultdict(list)
    for index, image in enumerate(images):
        groups[image.shape].append(index)
    results = [
        function(_pick(images, group), *(_pick(x, group) for x in per_image))
        for group in groups.values()
    ]
    drawn = [index for group in groups.values() for index in group]
    order = sorted(range(len(drawn)), key=drawn.__getitem__)
    if isinstance(results[0], tuple):
        return tuple(_pick(torch.cat(parts), order) for parts in zip(*results, strict=True))
    return _pick(torch.cat(results), order)


def _pick(items: Images, order: Sequence[int]) -> Tensor:
    """Stack entries of a tensor or list; Python indices avoid copies to the GPU."""
    items = items.unbind() if isinstance(items, Tensor) else items
    return torch.stack([items[i] for i in order])


def paste_patches(images: Tensor, patches: Tensor, windows: Tensor, patch_size: int) -> Tensor:
    """Return images (B, C, H, W) with the patches of windows replaced; later windows overwrite.

    Args:
        patches: (B, W, K*K, P*P*C), as from `cut_patches`.
    """
    images = images.clone(memory_format=torch.contiguous_format)
    view = patch_view(images, patch_size)
    rows, columns = patch_coordinates(windows, round(patches.shape[2] ** 0.5))
    image = torch.arange(len(images), device=images.device)[:, None]
    for window in range(windows.shape[1]):
        place = image, rows[:, window], columns[:, window]
        view[place] = patches[:, window].unflatten(-1, view.shape[3:])
    return images
