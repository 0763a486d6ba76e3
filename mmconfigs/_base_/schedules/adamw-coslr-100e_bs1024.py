# Fine-tuning after MAE and LoMaR, for an effective batch of 1024.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='LayerGroups',
    optimizer=dict(
        type='AdamW',
        lr=5e-4 * 1024 / 256,  # the base rate belongs to 256 images
        betas=(0.9, 0.999),
        weight_decay=0.05,
        fused=True,
    ),
    paramwise_cfg=dict(layer_decay=0.65, no_decay=['backbone.cls_token']),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, end='5/100', convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        begin='5/100',
        # MAE's lowest learning rate of the head is 1e-6; layer decay scales it for other layers.
        eta_min_ratio=1e-6 / (5e-4 * 1024 / 256),
        convert_to_iter_based=True,
    ),
]
auto_scale_lr = dict(base_batch_size=1024)
