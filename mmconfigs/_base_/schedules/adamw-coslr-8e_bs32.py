# Some minutes on two CPU cores.
optim_wrapper = dict(
    type='OptimWrapper',
    constructor='LayerGroups',
    optimizer=dict(type='AdamW', lr=2e-3, betas=(0.9, 0.95), weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=8)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, end='1/8', convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin='1/8', convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=32)
