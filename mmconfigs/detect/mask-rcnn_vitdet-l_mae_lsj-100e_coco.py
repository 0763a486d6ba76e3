_base_ = 'mask-rcnn_vitdet-b_mae_lsj-100e_coco.py'

model = dict(
    backbone=dict(arch='large', global_blocks=(5, 11, 17, 23), drop_path_rate=0.4),
    neck=dict(in_channels=1024),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay=0.8))
load_from = 'work_dirs/mae_vit-large-p16_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
