"""Files with a training step, from which `lomar replay` computes the loss again."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.dist import get_rank
from mmengine.model import BaseModel
from mmengine.runner import EpochBasedTrainLoop
from torch import Tensor

from lomar.checkpoints.files import load_file
from lomar.checkpoints.trained_model import trained_model
from lomar.compat.amp import device_type, mixed_dtype
from lomar.datasets.readable import samples
from lomar.engine.loops import starts_anywhere
from lomar.engine.plain_batch import from_plain, to_plain
from lomar.engine.step_seed_hook import seed_step
from lomar.models import LoMaR
from lomar.models.patches import Images
from lomar.utils import atomic_write, type_name, undisturbed_rng, unwrapped

KEY = 'replay'  # in the file


class Replayed(NamedTuple):
    """The losses of a step, computed again.

    Attributes:
        step: number of the step, from 1.
        losses: value by name; 'loss' is the sum.
        gradient_norm: norm of the gradients of all weights.
    """

    step: int
    losses: dict[str, float]
    gradient_norm: float

    @property
    def finite(self) -> bool:
        """Return whether all losses and the gradients are finite."""
        return all(map(math.isfinite, [*self.losses.values(), self.gradient_norm]))


def write_replay(runner, steps: Sequence[int], path: Path, weights: dict[str, Tensor]) -> None:
    """Write batches, random seeds, windows and masks of steps, and the current weights.

    Args:
        steps: numbers of steps in the current epoch, from 0.
        weights: state dict of the model.

    Raises:
        ValueError: the batches cannot be loaded again, see `load_batch`, or not be saved.
    """
    model = unwrapped(runner.model)
    entries = []
    with undisturbed_rng(device_type()):
        for step in steps:
            batch = load_batch(runner.train_loop, step)
            entry = dict(step=step, seed=[runner.seed, get_rank(), step], batch=to_plain(batch))
            if isinstance(model, LoMaR):
                entry['windows'] = to_plain(_draws(model, batch, entry['seed']))
            entries.append(entry)
    content = dict(
        state_dict={name: value.cpu() for name, value in weights.items()},
        meta=dict(cfg=runner.cfg.pretty_text, epoch=runner.epoch, iter=runner.iter),
    )
    content[KEY] = dict(steps=entries, dtype=_dtype(runner.cfg), device=device_type())
    with atomic_write(path) as part:
        torch.save(content, part)


def load_batch(loop, step: int):
    """Return the batch of a step in the current epoch, loaded from the files again.

    Raises:
        ValueError: the sampler does not allow to load it.
    """
    loader: Any = loop.dataloader
    if not starts_anywhere(loader):
        raise ValueError(
            'its batch cannot be loaded again; possible with: train_dataloader.sampler of type '
            'ReplaySampler or InfiniteReplaySampler, without a batch_sampler of another type'
        )
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    number = step - loop.epoch * len(loader) if by_epoch else step
    sampler, size = copy.copy(loader.sampler), loader.batch_sampler.batch_size
    sampler.start = number * size
    return loader.collate_fn(samples(loader.dataset, islice(sampler, size)))


def replay(path: str | Path, device: str | None = None) -> list[Replayed]:
    """Compute the losses of the steps in a file again, with the weights of the file.

    Args:
        path: file that the training wrote.
        device: PyTorch device; None = a GPU if there is one.

    Raises:
        FileNotFoundError: the file does not exist.
        ValueError: the file holds no step.
    """
    found = load_file(path).get(KEY)
    if not isinstance(found, dict):
        raise ValueError(
            f'{path} holds no training step; allowed: nonfinite_step_N.pth, which a training '
            'writes whose loss is NaN or infinite'
        )
    trained = trained_model(path, device=device)
    model: Any = trained.model.train()
    place = next(model.parameters()).device
    dtype = getattr(torch, found['dtype']) if found['dtype'] else None
    results = []
    for entry in found['steps']:
        batch = from_plain(entry['batch'])
        if 'windows' in entry:
            draws = [tuple(each.to(place) for each in pair) for pair in entry['windows']]
            model.draw = partial(_drawn, type(model).draw, model, draws)
        seed_step(entry['seed'])
        model.zero_grad()
        with torch.autocast(place.type, dtype, enabled=dtype is not None):
            losses, values = model.parse_losses(_losses(model, batch))
        losses.backward()
        norms = [each.grad.norm() for each in model.parameters() if each.grad is not None]
        values = {name: float(torch.as_tensor(value).detach()) for name, value in values.items()}
        results.append(Replayed(entry['step'] + 1, values, float(torch.stack(norms).norm())))
    return results


def _losses(model: BaseModel, batch: dict) -> dict:
    data = model.data_preprocessor(batch, True)
    return model(**data, mode='loss') if isinstance(data, dict) else model(*data, mode='loss')


def _drawn(draw: Callable, model: LoMaR, draws: list, images: Images) -> list:
    """Return the windows of the training on every device; advance the generator as `draw` does."""
    draw(model, images)
    return draws


def _draws(model: LoMaR, batch: dict, seed: Sequence[int]) -> list:
    """Return the windows and masks that the step has drawn."""
    seed_step(seed)
    return model.draw(model.data_preprocessor(batch, True)['inputs'])


def _dtype(cfg) -> str | None:
    """Return the name of the dtype of mixed precision, None for float32."""
    wrapper = cfg.get('optim_wrapper') or {}
    if type_name(wrapper) != 'AmpOptimWrapper':
        return None
    dtype = mixed_dtype(wrapper.get('dtype'))
    return str(dtype).removeprefix('torch.') if dtype else None
