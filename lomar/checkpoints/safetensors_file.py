"""Writing of .safetensors files."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lomar.utils import atomic_write


def separate(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous copies of weights, which share no memory."""
    return {
        name: value.detach().clone(memory_format=torch.contiguous_format)
        for name, value in weights.items()
    }


def write_safetensors(path: Path, weights: dict[str, Tensor]) -> None:
    """Write weights atomically, with the permissions of other new files."""
    with atomic_write(path) as part:
        part.touch()
        mode = part.stat().st_mode
        # The format allows no tensors that share memory.
        save_file(separate(weights), part, metadata={'format': 'pt'})
        part.chmod(mode)  # some releases of safetensors leave the file to its owner
