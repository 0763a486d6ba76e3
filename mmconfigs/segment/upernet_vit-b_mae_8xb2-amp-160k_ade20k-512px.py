# mIoU: 48.1 (arXiv 2111.06377), 48.13 (mmseg's configs/mae).
_base_ = './upernet_vit-b_lomar_8xb2-amp-160k_ade20k-512px.py'

# The position encoding that MAE's weights were trained with, and relative positions that begin at
# zero: MAE adds Swin's to the transfer only (appendix A.4), here they are ViTDet's.
model = dict(backbone=dict(position='absolute+decomposed', pretrain_img_size=224))
optim_wrapper = dict(paramwise_cfg=dict(no_decay=['backbone.pos_embed']))

load_from = 'work_dirs/mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
