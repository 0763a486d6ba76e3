"""Parameter groups with weight decay and learning rate per layer."""

from fnmatch import fnmatch
from inspect import signature

from mmengine.model import BaseModel
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS
from timm.optim import Lars
from torch import nn

DEFAULTS = dict(layer_decay=1.0, vectors_decay=False, no_decay=(), vectors=None)
# mmpretrain's LARS synchronizes with the GPU for every parameter, and includes the learning rate in
# the momentum buffer; timm's does neither.
OPTIMIZERS.register_module(name='Lars', module=Lars)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerGroups(DefaultOptimWrapperConstructor):
    """Optimizer constructor with one parameter group per learning rate and weight decay.

    mmengine's default constructor makes one group per parameter, so that the optimizer cannot
    update parameters together and logs one line per parameter. `paramwise_cfg` may contain:

        layer_decay: learning rate of a backbone layer, divided by that of the next layer.
            The backbone returns the layer of a parameter; parameters outside the backbone have the
            full learning rate.
        vectors_decay: whether biases, norms and other vectors have weight decay. False in MAE and
            LoMaR.
        no_decay: patterns of parameter names without weight decay, such as '*.cls_token'.
        vectors: optimizer options for biases, norms and other vectors, such as
            dict(always_adapt=False), because MAE's LARS does not adapt their learning rate.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        # mmengine calls `add_params` only if `paramwise_cfg` is not empty.
        super().__init__(optim_wrapper_cfg, {**DEFAULTS, **(paramwise_cfg or {})})

    def _validate_cfg(self) -> None:
        unknown = set(self.paramwise_cfg) - set(DEFAULTS)
        if unknown:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg has the keys {sorted(unknown)}; LayerGroups allows: '
                f'{", ".join(DEFAULTS)}'
            )
        kind = self.optimizer_cfg['type']
        optimizer = OPTIMIZERS.get(kind) if isinstance(kind, str) else kind
        if optimizer is None:
            raise ValueError(f'optim_wrapper.optimizer.type is {kind!r}, which is not registered')
        if self.base_lr is None:
            raise ValueError('optim_wrapper.optimizer.lr is not set, and LayerGroups needs it')
        options = self.paramwise_cfg['vectors'] or {}
        known = signature(optimizer).parameters
        allowed = [name for name in known if name not in ('params', 'lr', 'weight_decay')]
        if not isinstance(options, dict) or set(options) - set(allowed):
            raise ValueError(
                f'optim_wrapper.paramwise_cfg.vectors is {options}; allowed for the optimizer '
                f'{kind}: a dict of {", ".join(allowed)}'
            )

    def add_params(self, params: list, module: nn.Module, **kwargs) -> None:
        """Append the groups of `module` to `params`."""
        patterns = set(self.paramwise_cfg['no_decay'])
        options = self.paramwise_cfg['vectors'] or {}
        groups: dict[tuple, list] = {}
        used = set()
        for name, parameter in module.named_parameters():
            matching = {pattern for pattern in patterns if fnmatch(name, pattern)}
            used |= matching
            if not parameter.requires_grad:
                continue
            spared = matching or (parameter.ndim <= 1 and not self.paramwise_cfg['vectors_decay'])
            decay = 0.0 if spared else self.base_wd or 0.0
            own = bool(options) and parameter.ndim <= 1
            groups.setdefault((self._rate(module, name), decay, own), []).append(parameter)
        if patterns - used:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg.no_decay has {sorted(patterns - used)}, which match '
                'no parameter of the model'
            )
        params.extend(
            dict(
                params=group, lr=self.base_lr * rate, weight_decay=decay, **(options if own else {})
            )
            for (rate, decay, own), group in groups.items()
        )

    def _rate(self, module: BaseModel, name: str) -> float:
        """Return the factor of a parameter's learning rate."""
        decay = self.paramwise_cfg['layer_decay']
        if decay == 1 or not name.startswith('backbone.'):
            return 1.0
        layer, layers = module.backbone.get_layer_depth(name, 'backbone.')
        return decay ** (layers - 1 - layer)
