# Linear probing after MAE, for an effective batch of 16384.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='LayerGroups',
    optimizer=dict(
        type='Lars',
        lr=0.1 * 16384 / 256,  # base rate for 256 images
        momentum=0.9,
        weight_decay=0.0,
        always_adapt=True,  # adapt the rate of weights even without weight decay
    ),
    paramwise_cfg=dict(vectors=dict(always_adapt=False)),  # MAE does not adapt biases
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=90, val_interval=5)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, end='10/90', convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin='10/90', convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=16384)
