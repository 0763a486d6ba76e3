"""From tokens to predictions of a target."""

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from lomar.models.targets import PatchFormat, build_target


@MODELS.register_module()
class WindowHead(BaseModule):
    """One linear layer from a token to the target of its patch (LoMaR, section 3.2).

    Args:
        embed_dim: width of the tokens; given by `LoMaR`.
        patches: the model's images; given by `LoMaR`.
        target: config of what is predicted, of the registry `lomar.models.targets.TARGETS`.
    """

    def __init__(self, embed_dim: int, patches: PatchFormat, target: dict):
        super().__init__()
        self.target = build_target(target, patches)
        self.pred = nn.Linear(embed_dim, self.target.dim)
        nn.init.xavier_uniform_(self.pred.weight)
        nn.init.zeros_(self.pred.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Predict patches: (..., D) -> (..., dim)."""
        return self.pred(tokens)


@MODELS.register_module()
class WindowPixelHead(WindowHead):
    """`WindowHead` for pixels, LoMaR's own.

    Args:
        norm_pix: predict pixels normalised by the mean and deviation of their patch (as MAE).
    """

    def __init__(self, embed_dim: int, patches: PatchFormat, norm_pix: bool = True):
        super().__init__(embed_dim, patches, dict(type='PixelTarget', norm_pix=norm_pix))
