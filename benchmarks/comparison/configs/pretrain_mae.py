# MAE beside LoMaR: the same encoder, data and schedule.
_base_ = [
    '../../../mmconfigs/_base_/models/mae_vit-tiny.py',
    '../../../mmconfigs/_base_/datasets/in1k_192px_bs64.py',
    '../../../mmconfigs/_base_/schedules/adamw-coslr-100e_bs64.py',
    '../../../mmconfigs/_base_/runtime.py',
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

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, interval=1000))
custom_hooks = _base_.custom_hooks[:-1]  # no pictures
