"""Checks of images before they are encoded: their numbers of patches, and positions in them."""

from collections.abc import Sequence

from torch import Tensor

from lomar.datasets.unreadable import IMAGE_ERRORS
from lomar.encoder import Encoder
from lomar.visualization.feature_maps import patch_at

NAMED = 5  # images that an error names
COMMON = 14  # rows and columns of patches in the training of most checkpoints


def check_images(
    encoder: Encoder,
    images: Sequence[str],
    size: int | None,
    at: Sequence[int | float] | None = None,
) -> str:
    """Return a note for the user on images of many patches, or ''; encode nothing.

    Only one image is read, or all if there is no `size` and the position is in pixels. Images that
    cannot be read, or that the model does not support, are skipped.

    Args:
        size: as in `Encoder.read`.
        at: position (x, y) as in `patch_at`, or None.

    Raises:
        ValueError: the size does not fit the model, or an image does not have the position.
    """
    encoder.input.sides(size)
    all_sizes = size is None and any(isinstance(each, int) for each in at or ())
    note: str | None = None
    outside = []
    for name in images:
        try:
            pixels = encoder.read(name, size)
        except IMAGE_ERRORS:  # reported after the encoding
            continue
        if note is None:
            note = many_patches(encoder, name, pixels) if size is None else ''
        if at is not None:
            try:
                patch_of(encoder, pixels, at)
            except ValueError as error:
                outside.append(f'{name}: {error}')
        if not all_sizes:
            break
    if outside:
        what = f'--at is outside of {len(outside)} of {len(images)} images'
        more = [f'and {len(outside) - NAMED} more'] if len(outside) > NAMED else []
        lines = (f'{what}; shares such as 0.3 0.6 are in every image:', *outside[:NAMED], *more)
        raise ValueError('\n  '.join(lines))
    return note or ''


def many_patches(encoder: Encoder, name: str, pixels: Tensor) -> str:
    """Return a note if an image (C, H, W) has more patches than those of the training, or ''."""
    (height, width), patch = pixels.shape[1:], encoder.backbone.patch_size
    trained, number = encoder.trained_size, encoder.num_patches(pixels)
    rows, columns = encoder.backbone.grid(trained) if trained else (COMMON, COMMON)
    usual = rows * columns
    if number <= usual:
        return ''
    advice = '--size N, with the side in pixels of the training images, is faster'
    if trained:
        advice = f'--size {max(trained)}, the size in training with {usual:,} patches, is faster'
    return (
        f'{name} has {number:,} patches at its native size ({width} x {height} pixels, patches of '
        f'{patch}); {advice}'
    )


def patch_of(encoder: Encoder, pixels: Tensor, at: Sequence[int | float]) -> tuple[int, int]:
    """Return row and column of the patch at a position in an image, see `patch_at`."""
    height, width = pixels.shape[1:]
    patch = encoder.backbone.patch_size
    return patch_at(at, (height // patch, width // patch), patch)
