"""Detectors of mmdet without a config here, on the feature pyramid: loss, gradients, prediction."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from mmengine.utils import get_installed_path

import lomar.register  # noqa: F401

CONFIGS = {
    'ATSS': 'atss/atss_r50_fpn_1x_coco.py',
    'Deformable DETR': 'deformable_detr/deformable-detr_r50_16xb2-50e_coco.py',
    'RetinaNet': 'retinanet/retinanet_r50_fpn_1x_coco.py',
}
ARCH = dict(embed_dim=48, depth=1, num_heads=3, mlp_ratio=2)


def build(name):
    """Return a small detector of a config of mmdet, on all five levels of the pyramid."""
    init_default_scope('mmdet')
    path = f'{get_installed_path("mmdet")}/.mim/configs/{CONFIGS[name]}'
    model = Config.fromfile(path).model
    model.backbone = dict(type='RPEViT', arch=ARCH, img_size=64, patch_size=16, out_type='featmap')
    model.neck = dict(type='SimpleFeaturePyramid', in_channels=48)
    for part, attention in (('encoder', 'self_attn_cfg'), ('decoder', 'cross_attn_cfg')):
        if part in model:
            model[part].num_layers = 1
            model[part].layer_cfg[attention].num_levels = 5
            model.num_feature_levels = 5
    detector = MODELS.build(model)
    detector.init_weights()  # DETR's level embedding is uninitialized memory before
    return detector


@pytest.mark.parametrize('name', CONFIGS)
def test_loss_gradients_and_prediction(name):
    torch.manual_seed(0)
    model = build(name)
    boxes = torch.tensor([[8.0, 8.0, 40.0, 56.0], [20.0, 4.0, 60.0, 30.0]])
    sample = DetDataSample(
        metainfo=dict(img_shape=(96, 160), ori_shape=(96, 160), scale_factor=(1, 1)),
        gt_instances=InstanceData(bboxes=boxes, labels=torch.tensor([0, 3])),
    )
    batch = dict(inputs=[torch.randint(0, 256, (3, 96, 160))], data_samples=[sample])
    batch = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    assert loss.isfinite() and model.backbone.patch_embed.proj.weight.grad.abs().sum() > 0
    (result,) = model.eval()(**batch, mode='predict')
    assert result.pred_instances.bboxes.isfinite().all()
