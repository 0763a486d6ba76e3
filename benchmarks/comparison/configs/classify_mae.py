_base_ = './classify_lomar.py'

model = dict(backbone=dict(position='absolute'))
optim_wrapper = dict(paramwise_cfg=dict(no_decay=['backbone.cls_token', 'backbone.pos_embed']))
