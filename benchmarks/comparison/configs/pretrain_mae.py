# MAE beside LoMaR: the same encoder, data and schedule.
_base_ = [
    '../../../mmconfigs/_base_/models/mae_vit-tiny.py',
    './pretrain.py',
]

model = dict(
    backbone=dict(
        img_size=192,
        patch_size=8,
    ),
    neck=dict(
        num_patches=24 * 24,  # 192 / 8 = 24
        patch_size=8,
    ),
    head=dict(patch_size=8),
)
