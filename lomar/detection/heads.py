"""mmdet's heads with predictions in float32 and detectron2's initial weights.

Under mixed precision mmdet's predictors run in bf16 or fp16. Their predictions are later sorted
(RPN proposals, detections), compared with thresholds (scores, masks) and decoded to pixel
coordinates.
"""

from mmdet.models import FCNMaskHead, RPNHead
from mmengine.registry import MODELS
from torch import nn

from lomar.models.float32_layers import Float32Conv2d


@MODELS.register_module()
class Float32RPNHead(RPNHead):
    """mmdet's `RPNHead` whose scores and box deltas are float32 under mixed precision."""

    def _init_layers(self) -> None:
        super()._init_layers()
        for name in ('rpn_cls', 'rpn_reg'):
            layer = getattr(self, name)
            setattr(self, name, Float32Conv2d(layer.in_channels, layer.out_channels, 1))


@MODELS.register_module()
class Float32MaskHead(FCNMaskHead):
    """mmdet's `FCNMaskHead` with float32 logits that are near 0 at initialization.

    mmdet initializes the logit layer like other convolutions, with a standard deviation of
    sqrt(2 / classes). detectron2 (`modeling/roi_heads/mask_head.py`) uses 0.001.
    """

    def __init__(self, *args, predictor_cfg: dict | None = None, **kwargs):
        predictor = predictor_cfg or dict(type='Float32Conv2d')
        super().__init__(*args, predictor_cfg=predictor, **kwargs)

    def init_weights(self) -> None:
        """Initialize the logit layer as detectron2 does, and all other layers as mmdet does."""
        super().init_weights()
        nn.init.normal_(self.conv_logits.weight, std=0.001)
