_base_ = 'mask2former_vitdet-b_lomar_lsj-50e_coco.py'

# The position encoding that MAE's weights were trained with, and ViTDet's addition to it.
model = dict(backbone=dict(position='absolute+decomposed', pretrain_img_size=224))
optim_wrapper = dict(
    paramwise_cfg=dict(
        no_decay=[*_base_.optim_wrapper.paramwise_cfg.no_decay, 'backbone.pos_embed'],
    ),
)

load_from = 'work_dirs/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
