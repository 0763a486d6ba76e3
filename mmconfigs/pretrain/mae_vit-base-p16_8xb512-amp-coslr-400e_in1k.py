_base_ = 'mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k.py'

train_cfg = dict(max_epochs=400)
param_scheduler = [
    dict(_base_.param_scheduler[0], end='40/400'),
    dict(_base_.param_scheduler[1], begin='40/400'),
]
