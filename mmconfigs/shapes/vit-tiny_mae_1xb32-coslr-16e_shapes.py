_base_ = './vit-tiny_lomar_1xb32-coslr-16e_shapes.py'

model = dict(backbone=dict(position='absolute'))
optim_wrapper = dict(paramwise_cfg=dict(no_decay=['backbone.cls_token', 'backbone.pos_embed']))

load_from = 'work_dirs/mae_vit-tiny-p4_1xb32-coslr-8e_shapes/epoch_8.pth'
