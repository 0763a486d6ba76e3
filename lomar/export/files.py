"""Writing of an exported file, and its comparison with PyTorch."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lomar.checkpoints.files import naming
from lomar.datasets.model_input import check_sides
from lomar.export.bucket_tables import constant_buckets
from lomar.export.exportable import Exportable
from lomar.export.formats import FORMATS, check_packages
from lomar.export.graphs import RawPixels
from lomar.utils import atomic_write, check_suffix

TRACED, CHECKED = 2, 3  # images in the batch of the trace and in that of the check


@dataclass
class Difference:
    """Largest difference of one output of a file from PyTorch's.

    Attributes:
        shape: shape of the output for one image.
        largest: largest absolute difference.
        scale: largest absolute value of PyTorch's output.
        allowed: largest difference that rounding in float32 explains.
    """

    shape: tuple[int, ...]
    largest: float
    scale: float
    allowed: float

    @property
    def fits(self) -> bool:
        """Return whether the difference is allowed; NaN is not."""
        return self.largest <= self.allowed

    def __str__(self) -> str:
        return (
            f'largest difference from PyTorch {self.largest:.1e}, of values up to {self.scale:.3g}'
            f' (allowed: {self.allowed:.1e})'
        )


def export_file(
    source: Exportable, out: str | Path, size: tuple[int, int]
) -> dict[str, Difference]:
    """Write a file for images of one size and compare it with PyTorch; return the differences.

    Args:
        out: file that ends in .onnx or .pt2; after an error, a file of this name stays as it was.
        size: (height, width) in pixels.

    Raises:
        ImportError: packages of the format are missing.
        ValueError: the model does not support the size, or an output differs by more than rounding.
    """
    out = Path(out)
    check_suffix('OUT', out, FORMATS)
    check_packages(out.suffix.lower())
    file_format = FORMATS[out.suffix.lower()]
    patch = source.facts.get('patch_size')
    if isinstance(patch, int):
        check_sides(*size, patch, '--size')
    images = _noise(source.graph, CHECKED, size)
    with torch.no_grad(), naming(f'--size {size[0]} {size[1]}'), _memory():
        expected = source.graph(images)
    with torch.no_grad(), constant_buckets(source.graph):
        source.graph(images[:1])  # computes the constants
        traced = (_noise(source.graph, TRACED, size),)
        batch = {0: torch.export.Dim('batch')}
        program = torch.export.export(source.graph, traced, dynamic_shapes=(batch,))
    with atomic_write(out) as part:
        file_format.write(program, [*expected], source.metadata(size, [*expected]), part)
        found = compare(expected, file_format.run(part, images), source.graph)
        if wrong := [f'{name}: {each}' for name, each in found.items() if not each.fits]:
            raise ValueError(f'{out} was not written, it would be wrong: {"; ".join(wrong)}')
    return found


@contextmanager
def _memory() -> Iterator[None]:
    """Raise a ValueError if PyTorch cannot allocate memory."""
    try:
        yield
    except RuntimeError as error:
        if 'DefaultCPUAllocator' not in str(error):
            raise
        raise ValueError('there is not enough memory; allowed: a smaller size') from error


def compare(
    expected: dict[str, Tensor], found: dict[str, Tensor], model: nn.Module
) -> dict[str, Difference]:
    """Return the differences of named outputs from the expected ones."""
    share, result = tolerance(model), {}
    for name, reference in expected.items():
        scale = reference.abs().max().item()
        same_shape = name in found and found[name].shape == reference.shape
        largest = (found[name] - reference).abs().max().item() if same_shape else math.nan
        result[name] = Difference(tuple(reference.shape[1:]), largest, scale, share * scale)
    return result


def tolerance(model: nn.Module) -> float:
    """Return the largest relative difference that another order of summation explains.

    Terms are rounded to 2^-23 of their size. The rounding errors of a sum of n terms add up to
    about sqrt(n) of them, and those of successive layers add up, with n = the longest sum.
    """
    layers = [value for value in model.parameters() if value.ndim > 1]
    longest = max(layer[0].numel() for layer in layers)
    return torch.finfo(torch.float32).eps * math.sqrt(longest) * len(layers)


def _noise(graph: RawPixels, batch: int, size: tuple[int, int]) -> Tensor:
    """Return the same images of noise (B, C, H, W), about as bright as those of the training."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch, len(graph.mean), *size, generator=generator)
    return noise * graph.std + graph.mean
