"""mmdet's heads with predictions in float32 and detectron2's initial weights.

Under mixed precision mmdet's predictors run in bf16 or fp16. Their predictions are later sorted
(RPN proposals, detections), compared with thresholds (scores, masks) and decoded to pixel
coordinates.
"""

import torch
from mmdet.models import (
    DINOHead,
    FCNMaskHead,
    FCOSHead,
    Mask2FormerHead,
    RPNHead,
    RTMDetSepBNHead,
)
from mmdet.models.roi_heads import cascade_roi_head
from mmengine.registry import MODELS
from torch import Tensor, nn

from lomar.models.float32_layers import Float32Conv2d, Float32Linear, full_precision


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


def _predict_in_float32(*parts: nn.Module) -> None:
    """Make the linear layers and convolutions in some parts of a head compute in float32."""
    for layer in (layer for part in parts for layer in part.modules()):
        for kind, float32 in ((nn.Linear, Float32Linear), (nn.Conv2d, Float32Conv2d)):
            if isinstance(layer, kind):
                layer.__class__ = float32


@MODELS.register_module()
class Float32FCOSHead(FCOSHead):
    """mmdet's `FCOSHead` whose scores, distances and centerness are float32."""

    def _init_layers(self) -> None:
        super()._init_layers()
        _predict_in_float32(self.conv_cls, self.conv_reg, self.conv_centerness)


@MODELS.register_module()
class Float32RTMDetHead(RTMDetSepBNHead):
    """mmdet's `RTMDetSepBNHead` whose scores and distances are float32."""

    def _init_layers(self) -> None:
        super()._init_layers()
        _predict_in_float32(self.rtm_cls, self.rtm_reg)


@MODELS.register_module()
class Float32DINOHead(DINOHead):
    """mmdet's `DINOHead` whose scores and boxes are float32."""

    def _init_layers(self) -> None:
        super()._init_layers()
        _predict_in_float32(self.cls_branches, self.reg_branches)


@MODELS.register_module()
class Float32Mask2FormerHead(Mask2FormerHead):
    """mmdet's `Mask2FormerHead` whose scores and mask logits are float32."""

    def _forward_head(
        self, decoder_out: Tensor, mask_feature: Tensor, attn_mask_target_size: tuple[int, int]
    ) -> tuple[Tensor, ...]:
        with full_precision(decoder_out):
            return super()._forward_head(
                decoder_out.float(), mask_feature.float(), attn_mask_target_size
            )


def mean_of_stages(masks: list[Tensor], _: dict) -> Tensor:
    """Return the mean of the masks of a cascade's stages, each (N, C, H, W).

    mmdet also mirrors the masks of a mirrored image, as in `--tta`, by a negative step,
    which PyTorch refuses. Boxes and masks of a view are mirrored together, when views are merged.
    """
    return torch.stack(masks).mean(dim=0)


cascade_roi_head.merge_aug_masks = mean_of_stages
