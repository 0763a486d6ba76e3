# MAE beside LoMaR on the embedded dataset: the same encoder width and depth, data and schedule.
_base_ = [
    '../_base_/models/mae_vit-tiny.py',
    '../_base_/datasets/shapes_64px_bs32.py',
    '../_base_/schedules/adamw-coslr-8e_bs32.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(
        img_size=64,
        patch_size=4,
    ),
    neck=dict(
        num_patches=16 * 16,  # 64 / 4 = 16
        patch_size=4,
    ),
    head=dict(patch_size=4),
)

default_hooks = dict(logger=dict(interval=25))
custom_hooks = _base_.custom_hooks[:-1]  # the pictures are LoMaR's
