_base_ = 'mask-rcnn_vitdet-h_lomar_lsj-75e_coco.py'

# Patches of 14 pixels are resampled to 16 pixels: the pretraining grid stays 16 x 16.
model = dict(backbone=dict(position='absolute+decomposed', pretrain_img_size=224 // 14 * 16))

load_from = 'work_dirs/mae_vit-huge-p14_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
