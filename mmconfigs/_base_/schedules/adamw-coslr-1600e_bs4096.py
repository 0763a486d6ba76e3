# AdamW with a cosine schedule over 1600 epochs, for an effective batch of 4096.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='LayerGroups',
    optimizer=dict(
        type='AdamW',
        lr=1.5e-4 * 4096 / 256,  # the base rate belongs to 256 images
        betas=(0.9, 0.95),
        weight_decay=0.05,
        fused=True,
    ),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1600)
# LoMaR's author: warm up over the first 5 %, as 20 of 400 epochs in the README of the release.
# '1/20' is a share of the training, so train_cfg.max_epochs sets the length of the schedule.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, end='1/20', convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin='1/20', convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=4096)
