"""A config file with its inherited settings, model and parameter groups."""

from copy import deepcopy
from functools import cached_property
from pathlib import Path

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn

from lomar.engine.param_groups import LayerGroups
from lomar.engine.schedule import Length, resolve_schedule

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def length(cfg: Config, epoch_steps: int = 1) -> Length:
    """Return the length of the training; with one step per epoch, numbers of steps are epochs."""
    if 'max_iters' in cfg.train_cfg:
        return Length(cfg.train_cfg.max_iters, None, epoch_steps)
    epochs = cfg.train_cfg.max_epochs
    return Length(epochs * epoch_steps, epochs, epoch_steps)


class Resolved:
    """A config with its full-size model on the meta device.

    Attributes:
        cfg: the config, including inherited settings; `param_scheduler` has numbers for its shares,
            in the unit of `train_cfg`.
    """

    def __init__(self, path: Path):
        self.cfg = Config.fromfile(path)
        init_default_scope(self.cfg.default_scope)
        self.cfg.param_scheduler = resolve_schedule(self.cfg.param_scheduler, length(self.cfg))

    @cached_property
    def model(self) -> nn.Module:
        """The model on the meta device, with names and shapes but no values of parameters."""
        init_default_scope(self.cfg.default_scope)
        settings = deepcopy(self.cfg.model)
        if settings.type == 'ImageClassifier':
            settings.train_cfg = None  # avoids a message of mmpretrain about Mixup
        with torch.device('meta'):
            return MODELS.build(settings)

    @cached_property
    def groups(self) -> dict[str, tuple[float, float]]:
        """Learning rate and weight decay of each trained parameter, by its name."""
        wrapper = deepcopy(self.cfg.optim_wrapper)
        constructor = LayerGroups(wrapper, wrapper.pop('paramwise_cfg', None))
        groups = []
        constructor.add_params(groups, self.model)
        of = {id(p): (g['lr'], g['weight_decay']) for g in groups for p in g['params']}
        return {name: of[id(p)] for name, p in self.model.named_parameters() if id(p) in of}

    def value(self, path: str) -> object:
        """Return the value of a key path such as 'optim_wrapper.optimizer.lr'; None if not set."""
        found = self.cfg
        for key in path.split('.'):
            found = found[int(key)] if key.isdecimal() else found.get(key)
            if found is None:
                return None
        return tuple(found) if isinstance(found, (list, tuple)) else found

    def step(self, key: str, split: str = 'train') -> ConfigDict:
        """Return the first pipeline step that has the type `key` or an argument `key`."""
        pipeline = self.cfg[f'{split}_dataloader'].dataset.pipeline
        for step in pipeline:
            if step.type == key or key in step:
                return step
        raise KeyError(
            f"{self.cfg.filename}: no step of the {split} pipeline has the type or argument '{key}'"
        )

    def spared(self) -> tuple[str, ...]:
        """Return the kinds of parameters without weight decay."""
        decays = {}
        for name, (_, decay) in self.groups.items():
            decays.setdefault(self._kind(name), set()).add(decay)
        kinds = [
            kind if len(found) == 1 else f'some {kind}'
            for kind, found in decays.items()
            if 0 in found
        ]
        return tuple(sorted(kinds))

    def _kind(self, name: str) -> str:
        owner = name.rpartition('.')[0]
        for part, kind in (
            ('cls_token', 'cls token'),
            ('mask_token', 'mask token'),
            ('pos_embed', 'absolute positions'),
            ('rpe_', 'relative positions'),
        ):
            if part in name:
                return kind
        if isinstance(self.model.get_submodule(owner), NORMS):
            return 'norms of the backbone' if name.startswith('backbone.') else 'other norms'
        return 'biases' if name.endswith('bias') else 'weights'
