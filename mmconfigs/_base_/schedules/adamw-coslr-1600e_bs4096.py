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
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, begin=0, end=1600 // 20, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        T_max=1600 - 1600 // 20,
        begin=1600 // 20,
        end=1600,
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=4096)
