"""Time, FLOPs and memory of a training step, or of inference, for several contenders at once."""

import gc
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from benchmarks.speed.contenders import SAME_MODEL, Contender, build
from benchmarks.speed.timing import (
    DoesNotFit,
    Spread,
    free_memory,
    interleave,
    saved_bytes,
    share_of_products,
)
from lomar.cost.flops import IMAGES, flops_of

DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


@dataclass(frozen=True)
class Setting:
    """Settings that all contenders of a round share.

    Args:
        task: 'pretrain' or 'detect'.
        arch: a name in `lomar.models.architectures.ARCHS`.
        size: side of the square images in pixels.
        dtype: 'float32', or 'bfloat16' or 'float16' for autocast without loss scaling.
        inference: whether to extract features of whole images instead of training.
        compiled: whether to compile the transformer blocks with `torch.compile`.
    """

    task: str
    arch: str
    size: int
    dtype: str = 'float32'
    inference: bool = False
    compiled: bool = False

    def __str__(self):
        words = [self.task, f'ViT-{self.arch}', f'{self.size} px', self.dtype]
        words += ['inference'] * self.inference + ['compiled'] * self.compiled
        return ', '.join(words)


@dataclass
class Steps:
    """Training steps or inference of a contender with a fixed batch on the device."""

    contender: Contender
    setting: Setting
    images: torch.Tensor

    def __post_init__(self):
        parameters = self.contender.model.parameters()
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)

    def autocast(self) -> torch.autocast:
        """Return the autocast context of the setting's dtype."""
        dtype = self.setting.dtype
        return torch.autocast(self.images.device.type, DTYPES[dtype], enabled=dtype != 'float32')

    def forward(self) -> torch.Tensor:
        """Return the loss of the batch."""
        with self.autocast():
            return self.contender.loss(self.images)

    def step(self) -> None:
        """Run one training step, or inference."""
        if self.setting.inference:
            with torch.inference_mode(), self.autocast():
                self.contender.encode(self.images)
        else:
            self.optimizer.zero_grad()
            self.forward().backward()
            self.optimizer.step()

    def shrink(self, limit: float) -> int:
        """Halve the batch until a step fits into `limit` bytes; return its saved activation bytes.

        Raises:
            DoesNotFit: a single image does not fit.
        """
        while True:
            try:
                kept = 0
                if not self.setting.inference:
                    parameters = self.contender.model.parameters()
                    kept = saved_bytes(self.forward, parameters, limit)
                self.step()
                return kept
            except (DoesNotFit, torch.OutOfMemoryError):
                if len(self.images) == 1:
                    raise
                self.images = self.images[: len(self.images) // 2].clone()


def measure(
    setting: Setting,
    names: list[str],
    batch: int,
    repeats: int,
    warmup: int = 2,
    memory: float | None = None,
    say: Callable[[str], None] = print,
    backend: str = 'inductor',
) -> list[dict]:
    """Measure contenders in turns.

    Args:
        batch: images per step; halved for a contender until they fit.
        memory: activation budget in bytes; None for 60 % of the free memory.
        backend: backend of `torch.compile`, for compiled settings.

    Returns:
        One dict per contender that fits: `model`, the setting, `batch`, `images_per_second`,
        `images_per_second_range`, `gflops` (model FLOPs per image), `tflops_per_second`,
        `share_of_products`, `saved_mb` (activation memory per image, saved for the backward pass),
        `peak_mb` (GPU memory of a step).
    """
    gc.collect()  # models of an earlier setting that hold themselves in a circle
    prepared = {name: prepare(setting, name, batch) for name in names}
    weights = sum(p.numel() for s in prepared.values() for p in s.contender.model.parameters())
    # Of what is free once gradients and two moments, in float32, are there as well.
    limit = memory or 0.6 * max(free_memory() - 3 * 4 * weights, 0)
    contenders, saved = {}, {}
    for name in names:
        steps = prepared.pop(name)  # one that does not fit makes room for the next
        try:
            saved[name] = steps.shrink(limit) / len(steps.images)
        except (DoesNotFit, torch.OutOfMemoryError) as error:
            say(f'{name}, {setting}: not even one image fits ({error})')
            continue
        contenders[name] = steps
        if setting.compiled:
            for layer in steps.contender.layers:
                # MAE's encoder and decoder have different sequence lengths: without dynamic=False
                # PyTorch would compile slower kernels for any length.
                layer.compile(dynamic=False, backend=backend)
    if not contenders:
        return []
    turns = {name: steps.step for name, steps in contenders.items()}
    spreads = interleave(turns, repeats, warmup, str(setting))
    return [
        to_row(name, steps, spreads[name], None if setting.inference else saved[name])
        for name, steps in contenders.items()
    ]


def prepare(setting: Setting, name: str, batch: int) -> Steps:
    """Build a contender on the device, with random images."""
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    contender = build(setting.task, name, setting.arch, setting.size)
    contender.model.train(not setting.inference).to(device)
    return Steps(
        contender, setting, torch.randn(batch, 3, setting.size, setting.size, device=device)
    )


def to_row(name: str, steps: Steps, seconds: Spread, saved: float | None = None) -> dict:
    """Return the dict of a contender that `measure` describes."""
    batch, flops = len(steps.images), model_flops(steps.setting, SAME_MODEL.get(name, name))
    peak = peak_bytes(steps)
    return dict(
        model=name,
        **asdict(steps.setting),
        batch=batch,
        images_per_second=batch / seconds.median,
        images_per_second_range=[batch / seconds.most, batch / seconds.least],
        gflops=flops / 1e9,
        tflops_per_second=flops * batch / seconds.median / 1e12,
        share_of_products=share_of_products(steps.step),
        saved_mb=saved and saved / 1e6,
        peak_mb=peak and peak / 1e6,
    )


def peak_bytes(steps: Steps) -> int | None:
    """Return the peak memory in bytes that a step allocates on the GPU; None on a CPU.

    Weights, optimizer state and the batch are not counted; gradients are.
    """
    if not torch.cuda.is_available():
        return None
    steps.optimizer.zero_grad()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    steps.step()
    return torch.cuda.max_memory_allocated() - before


def model_flops(setting: Setting, name: str) -> float:
    """Return model FLOPs per image of a training step, or of inference."""
    with torch.device('meta'):
        contender = build(setting.task, name, setting.arch, setting.size)
        images = torch.empty(IMAGES, 3, setting.size, setting.size)
        if setting.inference:
            contender.model.eval()
            with torch.no_grad():
                return flops_of(lambda: contender.encode(images))[0] / IMAGES
        forward, loss = flops_of(lambda: contender.loss(images))
        return (forward + flops_of(loss.backward)[0]) / IMAGES
