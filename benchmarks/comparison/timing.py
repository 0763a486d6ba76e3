"""Seconds per pretraining step, measured alone, from which equal times follow."""

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

import lomar.register  # noqa: F401
from benchmarks.comparison.protocol import Scale, encoder
from benchmarks.comparison.runs import CONFIGS, METHODS
from benchmarks.speed.timing import interleave
from lomar.compat.amp import mixed_dtype
from lomar.provenance import provenance
from lomar.utils import write_json

FILE = Path(__file__).with_name('step_seconds.json')
WARMUP, REPEATS = 3, 15


def precision() -> str:
    """Return the dtype of the trainings' mixed precision on this machine, or float32."""
    return str(mixed_dtype() or torch.float32).removeprefix('torch.')


def measure(name: str, scale: Scale) -> None:
    """Time steps of both methods in turns, for each side of the images, and write `FILE`.

    A step has random images in memory, mixed precision as in the trainings, and the optimizer's
    update.
    """
    seconds: dict[str, dict[str, float]] = {}
    for side in sorted({grid * scale.patch for grid in (*scale.grids, scale.nuclei_grid)}):
        steps = {method: _step(method, side, scale) for method in METHODS}
        found = interleave(steps, REPEATS, WARMUP, title=f'{side} px')
        seconds[str(side)] = {method: round(found[method].median, 5) for method in METHODS}
        print(f'{side} px: {seconds[str(side)]}', flush=True)
    record = read()
    record[name] = dict(seconds=seconds, batch=scale.batch, precision=precision(), **provenance())
    write_json(FILE, record)


def step_seconds(name: str) -> dict[str, dict[str, float]]:
    """Return the seconds per step of both methods by side of the image in pixels.

    Raises:
        ValueError: they were not measured.
    """
    record = read()
    if name == 'smoke':
        return defaultdict(lambda: dict(lomar=0.1, mae=0.2))
    if name not in record:
        raise ValueError(f'{FILE} has no scale {name}: measure it with --measure')
    return record[name]['seconds']


def is_measured(name: str) -> bool:
    """Return whether the seconds per step of a scale are known."""
    return name == 'smoke' or name in read()


def read() -> dict[str, Any]:
    """Return the measured seconds and where they come from, by scale."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def _step(method: str, side: int, scale: Scale) -> Callable[[], None]:
    """Return a training step of a method's model on a batch of random images."""
    config = Config.fromfile(CONFIGS / f'pretrain_{method}.py')
    config.merge_from_dict(encoder(scale, method, side))
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    init_default_scope('mmpretrain')
    model = MODELS.build(config.model).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    images = torch.randint(256, (scale.batch, 3, side, side), dtype=torch.uint8)
    dtype = mixed_dtype()

    def step() -> None:
        data = model.data_preprocessor(dict(inputs=images, data_samples=None), training=True)
        with torch.autocast(device, dtype, enabled=dtype is not None):
            loss = model(**data, mode='loss')['loss']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step
