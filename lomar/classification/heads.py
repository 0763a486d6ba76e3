"""Classification heads."""

from mmengine.registry import MODELS
from mmpretrain.models import LinearClsHead

from lomar.models.float32_layers import Float32Linear


@MODELS.register_module()
class Float32LinearClsHead(LinearClsHead):
    """mmpretrain's `LinearClsHead` whose logits are float32 under mixed precision.

    Top-1 and top-5 accuracy rank the logits. In bf16 many logits of 1000 classes are equal.
    """

    def __init__(self, num_classes: int, in_channels: int, **kwargs):
        super().__init__(num_classes, in_channels, **kwargs)
        self.fc = Float32Linear(in_channels, num_classes)
