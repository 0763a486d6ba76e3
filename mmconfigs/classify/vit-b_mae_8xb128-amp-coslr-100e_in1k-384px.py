_base_ = './vit-b_lomar_8xb128-amp-coslr-100e_in1k-384px.py'

model = dict(backbone=dict(position='absolute'))  # resized from 224 pixels as it is loaded
optim_wrapper = dict(paramwise_cfg=dict(no_decay=['backbone.cls_token', 'backbone.pos_embed']))

load_from = 'work_dirs/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
