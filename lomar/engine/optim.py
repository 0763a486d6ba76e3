"""Parameter groups: which parameters decay."""

from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from timm.optim import param_groups_weight_decay
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class DecayGroups(DefaultOptimWrapperConstructor):
    """Two groups, as in MAE and LoMaR: vectors (biases, norms) without weight decay, the rest with.

    mmengine's default makes a group of every parameter, which keeps the optimizer from updating
    them together and logs a line for each. `paramwise_cfg.no_decay` lists further names without
    decay, such as 'cls_token'.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        # mmengine asks for groups only where `paramwise_cfg` is not empty.
        super().__init__(optim_wrapper_cfg, {'no_decay': (), **(paramwise_cfg or {})})

    def _validate_cfg(self) -> None:
        unknown = set(self.paramwise_cfg) - {'no_decay'}
        if unknown:
            raise ValueError(
                f'optim_wrapper.paramwise_cfg has the keys {sorted(unknown)}; DecayGroups allows: '
                'no_decay'
            )

    def add_params(self, params: list, module: nn.Module, **kwargs) -> None:
        """Append the groups of `module` to `params`."""
        names = {name for name, _ in module.named_parameters()}
        listed = set(self.paramwise_cfg['no_decay'])
        no_decay = {name for name in names if name.split('.')[-1] in listed}
        params.extend(
            param_groups_weight_decay(module, self.base_wd or 0.0, no_weight_decay_list=no_decay)
        )
