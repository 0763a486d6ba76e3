"""Settings of the training of a tokenizer, from which `lomar tokenizer` makes its flags.

Nothing here imports torch or OpenMMLab.
"""

from dataclasses import dataclass, field, fields
from typing import Any


def _setting(default: object, meaning: str, limits: tuple[float, float] | None = None) -> Any:
    return field(default=default, metadata=dict(meaning=meaning, limits=limits))


@dataclass(frozen=True)
class Settings:
    """Settings of `lomar.targets.tokenizer_training.train_tokenizer`.

    Args:
        images: folder or text list, as for pretraining.
        out: file to write, *.pth.
        overwrite: whether `out` is replaced if it exists.
    """

    images: str
    out: str
    patch_size: int = _setting(16, 'patch side in pixels, that of the model to pretrain', (2, 64))
    vocabulary: int = _setting(1024, 'number of different tokens', (2, 65536))
    code_dim: int = _setting(16, 'dimensions of a codebook entry', (2, 256))
    hidden: int = _setting(256, 'width of encoder and decoder', (8, 4096))
    steps: int = _setting(2000, 'optimizer steps', (1, 10**7))
    batch_size: int = _setting(16, 'crops per step', (1, 4096))
    size: int = _setting(224, 'crop side in pixels, a multiple of the patch side', (2, 2048))
    lr: float = _setting(1e-3, 'peak learning rate', (1e-12, 1))
    seed: int = _setting(0, 'the same seed gives the same file on a CPU', (0, 2**31 - 1))
    workers: int = _setting(1, 'processes that load images; 0 = the main process', (0, 256))
    device: str = _setting('cpu', 'PyTorch device')
    overwrite: bool = False

    def __post_init__(self):
        for each in fields(self):
            value, limits = getattr(self, each.name), each.metadata.get('limits')
            if limits and not limits[0] <= value <= limits[1]:
                flag = each.name.replace('_', '-')
                raise ValueError(f'--{flag} is {value}; allowed: {limits[0]} to {limits[1]}')
        if self.size % self.patch_size:
            raise ValueError(
                f'--size is {self.size}; allowed: multiples of --patch-size {self.patch_size}'
            )
