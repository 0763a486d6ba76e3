_base_ = './segment_lomar.py'

# The position encoding that MAE's weights were trained with, and ViTDet's addition to it.
model = dict(backbone=dict(position='absolute+decomposed', pretrain_img_size=192))
optim_wrapper = dict(paramwise_cfg=dict(no_decay=['backbone.pos_embed']))
