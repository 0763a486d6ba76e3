"""Heads: one linear layer from tokens to predictions of a target."""

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn

from lomar.models.targets import InputFormat, build_target


@MODELS.register_module()
class WindowHead(BaseModule):
    """Linear layer from a token to the target of the patch (LoMaR, section 3.2).

    Args:
        embed_dim: width of the tokens; given by `LoMaR`.
        inputs: description of the images; given by `LoMaR`.
        target: config of the prediction target, in the registry `lomar.models.targets.TARGETS`.
    """

    def __init__(self, embed_dim: int, inputs: InputFormat, target: dict):
        super().__init__()
        self.target = build_target(target, inputs)
        self.pred = nn.Linear(embed_dim, self.target.dim)
        nn.init.xavier_uniform_(self.pred.weight)
        nn.init.zeros_(self.pred.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Predict patches: (..., D) -> (..., dim)."""
        return self.pred(tokens)


@MODELS.register_module()
class WindowPixelHead(WindowHead):
    """`WindowHead` for pixels, LoMaR's target.

    Args:
        norm_pix: normalize pixels by the mean and standard deviation of their patch, as in MAE.
    """

    def __init__(self, embed_dim: int, inputs: InputFormat, norm_pix: bool = True):
        super().__init__(embed_dim, inputs, dict(type='PixelTarget', norm_pix=norm_pix))
