# The embedded dataset at a size that two CPU cores can train: see `make demo`.
_base_ = [
    '../_base_/models/lomar_vit-base-p16.py',
    '../_base_/datasets/in1k_224px_bs512.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=6, num_heads=4),
        img_size=96,
        patch_size=8,  # a grid of 96 / 8 = 12
    ),
)

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(
        data_root='data/shapes/train',
        pipeline=[
            dict(type='LoadRGB'),
            dict(
                type='RandomResizedCrop',
                scale=96,
                crop_ratio_range=(0.5, 1.0),
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs'),
        ],
    ),
)

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='DecayGroups',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=60)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=3, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=60 - 3, begin=3, end=60, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=64)

default_hooks = dict(checkpoint=dict(interval=10))
