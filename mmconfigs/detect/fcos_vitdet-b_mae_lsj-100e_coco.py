_base_ = 'fcos_vitdet-b_lomar_lsj-100e_coco.py'

# The position encoding that MAE's weights were trained with, and ViTDet's addition to it.
model = dict(backbone=dict(position='absolute+decomposed', pretrain_img_size=224))
optim_wrapper = dict(paramwise_cfg=dict(no_decay=['backbone.*norm*', 'backbone.pos_embed']))

load_from = 'work_dirs/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
