# A short schedule for the embedded dataset.
_base_ = './vitdet-100e_bs64.py'

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=0.9),  # four blocks, not twelve
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3, val_interval=3)
param_scheduler = [  # warm-up: 50 steps for 4000 images
    dict(_base_.param_scheduler[0], end='50/750'),
    dict(type='CosineAnnealingLR', convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=16)
