# LoMaR at a size that two CPU cores can train, on the embedded dataset: see `make demo`.
_base_ = [
    '../_base_/models/lomar_vit-base-p16.py',
    '../_base_/datasets/in1k_224px_bs512.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=4),
        img_size=96,
        patch_size=4,  # a grid of 96 / 4 = 24; about half a period of the textures
    ),
)

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(
        data_root='data/shapes/train',
        pipeline=[
            {**step, 'scale': 96, 'crop_ratio_range': (0.5, 1.0)}
            if step['type'] == 'RandomResizedCrop'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)

optim_wrapper = dict(
    type='OptimWrapper',
    constructor='LayerGroups',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, begin=0, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', T_max=8 - 1, begin=1, end=8, convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=32)

default_hooks = dict(logger=dict(interval=25))
custom_hooks = [*_base_.custom_hooks[:-1], dict(type='ReconstructionHook', interval=500)]
