_base_ = './vit-h-p14_lomar_8xb128-amp-coslr-50e_in1k.py'

model = dict(backbone=dict(position='absolute'))
optim_wrapper = dict(paramwise_cfg=dict(no_decay=['backbone.cls_token', 'backbone.pos_embed']))

load_from = 'work_dirs/mae_vit-huge-p14_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
