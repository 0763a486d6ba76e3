_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-25e_coco.py'

model = dict(backbone=dict(position='absolute+decomposed', pretrain_img_size=224))
optim_wrapper = dict(paramwise_cfg=dict(no_decay=['backbone.*norm*', 'backbone.pos_embed']))

load_from = 'work_dirs/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
