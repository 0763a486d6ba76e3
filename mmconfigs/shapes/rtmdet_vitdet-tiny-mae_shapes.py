_base_ = 'rtmdet_vitdet-tiny-lomar_shapes.py'

# The position encoding that MAE's weights were trained with, and ViTDet's addition to it.
model = dict(backbone=dict(position='absolute+decomposed', pretrain_img_size=64))
optim_wrapper = dict(paramwise_cfg=dict(no_decay=['backbone.*norm*', 'backbone.pos_embed']))

load_from = 'work_dirs/mae_vit-tiny-p4_1xb32-coslr-8e_shapes/epoch_8.pth'
