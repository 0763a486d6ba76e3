"""mmengine's `init_cfg=dict(type='Pretrained', ...)` for the backbones of this package."""

from typing import Any

from mmengine.logging import print_log
from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import nn

from lomar.checkpoints import transfer_backbone, transfer_model, unwrap
from lomar.checkpoints.files import naming
from lomar.models.vit import RPEViT


@WEIGHT_INITIALIZERS.register_module(name='Pretrained', force=True)
class PretrainedTransfer(PretrainedInit):
    """Initializer that transfers weights as `load_from` does.

    mmengine's initializer loads weights whose names fit, and goes on with random ones if none fit.
    It is still used for modules that are neither an `RPEViT` nor a model with an `RPEViT`.
    """

    def __call__(self, module: nn.Module) -> None:
        """Load the checkpoint; raise a TransferError if it does not fit."""
        is_model = isinstance(getattr(module, 'backbone', None), RPEViT)
        if not is_model and not isinstance(module, RPEViT):
            super().__call__(module)
            return
        content = CheckpointLoader.load_checkpoint(self.checkpoint, self.map_location)
        with naming(f'init_cfg.checkpoint={self.checkpoint}'):
            weights = unwrap(content)
            if self.prefix:
                part = {
                    name.removeprefix(self.prefix).removeprefix('.'): value
                    for name, value in weights.items()
                    if name.startswith(self.prefix)
                }
                if not part:
                    raise ValueError(
                        f"no weight has init_cfg.prefix='{self.prefix}' (found: "
                        f'{", ".join(list(weights)[:3])}, ...); without it, backbones are found'
                    )
                weights = part
            report = (transfer_model if is_model else transfer_backbone)(weights, module)
        what = report.loaded if is_model else type(module).__name__
        print_log(f'{what} loaded from {self.checkpoint}:\n{report}', logger='current')


def drop_pretrained(model: nn.Module) -> None:
    """Remove `init_cfg=dict(type='Pretrained')` of all modules, whose weights come from elsewhere.

    A resumed run has all weights in its checkpoint, and the file may be gone.
    """
    module: Any
    for module in model.modules():
        config = getattr(module, 'init_cfg', None)
        if isinstance(config, dict) and config.get('type') in ('Pretrained', PretrainedTransfer):
            module.init_cfg = None
