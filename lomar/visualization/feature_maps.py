"""Pictures of patch features: their principal components, and their similarity to one patch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from lomar.visualization.reconstruction import Row, sheet, stretch

SAMPLE = 65_536  # patches whose percentiles scale the colors
LIMITS = 0.01, 0.99  # quantiles of a component that become 0 and 255
FLAT = 1e-10  # share of the variance below which a component is rounding noise
MAX_CELL = 1024  # largest side of a picture in pixels; larger pictures are shrunk
COLOURMAP = 'viridis'
NO_BOX = torch.zeros(0, 4)


@dataclass
class Components:
    """First three principal components of patch features of dimension D.

    Attributes:
        mean: (D,) float64.
        axes: (3, D) float64, orthonormal, in the order of decreasing variance. The element of
            largest magnitude of each axis is positive.
        low, high: (3,) values that become 0 and 255; equal for a component without variance.
    """

    mean: Tensor
    axes: Tensor
    low: Tensor
    high: Tensor

    def project(self, patches: Tensor) -> Tensor:
        """Return the components (3, H, W) of patch features (D, H, W)."""
        centred = patches.double().flatten(1) - self.mean[:, None]
        return (self.axes @ centred).view(-1, *patches.shape[1:])

    def colours(self, values: Tensor) -> Tensor:
        """Return components (3, H, W) as RGB (3, H, W) uint8; gray without variance."""
        low, spread = self.low[:, None, None], (self.high - self.low)[:, None, None]
        levels = ((values - low) / spread.where(spread > 0, 1)).where(spread > 0, 0.5)
        return (levels.clamp(0, 1) * 255).round().byte()


class RunningPCA:
    """Principal components of the patches of all images, which are added one by one.

    Sum and covariance are exact. The percentiles are those of a random sample of about 65,536
    patches, at least one per image, so that the memory does not grow with the number of patches.

    Args:
        images: number of images that will be added.
    """

    def __init__(self, images: int):
        self.per_image = max(1, SAMPLE // images)
        self.generator = torch.Generator().manual_seed(0)
        self.count = 0
        self.sample: list[Tensor] = []

    def add(self, patches: Tensor) -> None:
        """Add the patch features (D, H, W) of an image."""
        rows = patches.flatten(1).T.double()
        if not self.count:  # near the mean, so that the differences below lose no digits
            self.shift = rows.mean(0)
            self.total = torch.zeros_like(self.shift)
            self.products = torch.zeros(len(self.shift), len(self.shift), dtype=torch.float64)
        shifted = rows - self.shift
        self.count += len(rows)
        self.total += shifted.sum(0)
        self.products += shifted.T @ shifted
        chosen = torch.randperm(len(rows), generator=self.generator)[: self.per_image]
        self.sample.append(patches.flatten(1).T[chosen])

    def components(self) -> Components:
        """Return the components of all patches added so far."""
        mean = self.total / self.count
        covariance = self.products / self.count - mean.outer(mean)
        variances, vectors = torch.linalg.eigh(covariance)  # increasing
        axes = vectors.flip(1)[:, :3].T
        largest = axes.gather(1, axes.abs().argmax(1, keepdim=True))
        found = Components(self.shift + mean, axes * largest.sign(), *torch.zeros(2, 3).double())
        projected = [found.project(rows.T[..., None]).flatten(1) for rows in self.sample]
        values = torch.cat(projected, dim=1)
        quantiles = torch.tensor(LIMITS, dtype=torch.float64)
        found.low, found.high = torch.stack([_quantile(each, quantiles) for each in values]).T
        flat = variances.flip(0)[:3] <= FLAT * variances.sum()
        found.high = found.low.where(flat, found.high)
        return found


def _quantile(values: Tensor, shares: Tensor) -> Tensor:
    """Return quantiles; `torch.quantile` takes no more than 16 million numbers."""
    ordered = values.sort().values
    return ordered[(shares * (len(ordered) - 1)).round().long()]


def similarity(patches: Tensor, row: int, column: int) -> Tensor:
    """Return the cosine similarity (H, W) of patch features (D, H, W) to those of one patch."""
    units = normalize(patches.double(), dim=0)
    return torch.einsum('dhw,d->hw', units, units[:, row, column])


def patch_at(at: Sequence[int | float], grid: Sequence[int], patch_size: int) -> tuple[int, int]:
    """Return row and column of the patch at a position (x, y) in a grid (rows, columns).

    Args:
        at: each an integer, in pixels, or a float from 0 to 1, a share of the width or height.

    Raises:
        ValueError: the position is outside of the image.
    """
    places = []
    for value, patches in zip(at, reversed(grid), strict=True):
        share = isinstance(value, float)
        place = min(int(value * patches), patches - 1) if share else int(value) // patch_size
        if not 0 <= place < patches:
            height, width = (side * patch_size for side in grid)
            raise ValueError(f'{at[0]}, {at[1]} is outside of {width} x {height} pixels')
        places.append(place)
    column, row = places
    return row, column


def pca_picture(pixels: Tensor, patches: Tensor, components: Components) -> Image.Image:
    """Draw the components of an image beside the image.

    Args:
        pixels: (C, H, W) as `Encoder.read` returns. 8-bit RGB and gray are shown, with the contrast
            of dark images stretched; for other pixels the map is drawn alone.
        patches: (D, H/P, W/P).
    """
    size = _size(pixels)
    enlarged = _enlarge(components.project(patches), size)
    return _picture(pixels, size, 'PCA of patch features', components.colours(enlarged))


def similarity_picture(pixels: Tensor, patches: Tensor, row: int, column: int) -> Image.Image:
    """Draw the similarity to the marked patch beside the image; see `pca_picture`.

    The first percentile of the similarities in the image is dark, and 1 is bright.
    """
    size, values = _size(pixels), similarity(patches, row, column)
    low = _quantile(values.flatten(), torch.tensor([LIMITS[0]])).item()
    spread = 1 - low if 1 - low > FLAT else 1.0
    levels = ((_enlarge(values[None], size)[0] - low) / spread).clamp(0, 1)
    colours = torch.from_numpy(colormaps[COLOURMAP](levels.numpy())[..., :3])
    shown = (colours.permute(2, 0, 1) * 255).round().byte()
    side = size[0] / patches.shape[1]
    mark = torch.tensor([column, row, column + 1, row + 1]) * side - torch.tensor([0, 0, 1, 1])
    return _picture(pixels, size, f'similarity {low:.2f} to 1', shown, mark[None])


def _size(pixels: Tensor) -> tuple[int, int]:
    """Return height and width of the picture of an image (C, H, W): at most `MAX_CELL`."""
    height, width = pixels.shape[1:]
    scale = min(1, MAX_CELL / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _enlarge(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a map (N, H/P, W/P) in the size of a picture, interpolated smoothly."""
    return interpolate(values[None], size=size, mode='bicubic', align_corners=False)[0]


def _picture(
    pixels: Tensor, size: tuple[int, int], title: str, drawn: Tensor, boxes: Tensor = NO_BOX
) -> Image.Image:
    """Arrange image and map (3, H, W) side by side, with boxes on both."""
    pictures = {title: drawn}
    if pixels.dtype == torch.uint8 and len(pixels) in (1, 3):
        shown = interpolate(pixels[None].float(), size=size, mode='area')[0]
        low, gain = stretch(shown)
        view = ((shown - low) * gain).clamp(0, 255).round().byte()
        pictures = {'input': view.expand(3, -1, -1)} | pictures
    return sheet([Row(pictures, boxes, boxed=pictures)])
