"""Accessors and reasons used by several recipes."""

from mmengine.registry import TRANSFORMS, init_default_scope
from torch import nn

from lomar.models.architectures import ARCHS
from tests.recipes.resolved import Resolved

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
AMP = 'bf16 without loss scaling if the GPU supports it, otherwise fp16'
WARM_START = "mmengine's LinearLR must start above 0"


def at(path: str):
    """Return a function that reads a key path of the config."""
    return lambda r: r.value(path)


def step(name: str, key: str, split: str = 'train'):
    """Return a function that reads an argument of a pipeline step; sequences become tuples."""

    def read(r: Resolved) -> object:
        value = r.step(name, split)[key]
        return tuple(value) if isinstance(value, (list, tuple)) else value

    return read


def has_step(name: str):
    """Return a function that returns whether the training pipeline has a step."""
    return lambda r: any(one.type == name for one in r.cfg.train_dataloader.dataset.pipeline)


def arch(r: Resolved) -> tuple[int, int, int]:
    """Return width, depth and heads of the backbone."""
    settings = ARCHS[r.cfg.model.backbone.arch]
    return settings['embed_dim'], settings['depth'], settings['num_heads']


def norm_eps(r: Resolved) -> tuple[float, ...]:
    """Return the epsilons of all LayerNorms."""
    return tuple(sorted({m.eps for m in r.model.modules() if isinstance(m, nn.LayerNorm)}))


def base_rate(r: Resolved) -> float:
    """Return the learning rate for 256 images."""
    return r.cfg.optim_wrapper.optimizer.lr * 256 / r.cfg.auto_scale_lr.base_batch_size


def schedule(r: Resolved) -> tuple[str, ...]:
    """Return the types of the schedulers."""
    return tuple(one.type for one in r.cfg.param_scheduler)


def crop(name: str):
    """Return a function that reads an attribute of the built random resized crop."""

    def read(r: Resolved) -> object:
        init_default_scope(r.cfg.default_scope)
        built = TRANSFORMS.build(r.step('LoadRandomResizedCrop'))
        value = getattr(built, name) if hasattr(built, name) else getattr(built.random, name)
        return tuple(value) if isinstance(value, (list, tuple)) else value

    return read
