_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'

# Patch embeddings of 14 pixels are resampled to 16 pixels when the weights are loaded.
model = dict(
    backbone=dict(arch='huge', global_blocks=(7, 15, 23, 31), drop_path_rate=0.5),
    neck=dict(in_channels=1280),
)
# In detectron2's config for ViT-H all parameters have weight decay.
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.9, no_decay=[]))
load_from = 'work_dirs/lomar_vit-huge-p14_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'

train_cfg = dict(max_iters=138281)  # 184375 x 3/4; the warm-up is a fraction, so it shrinks too
