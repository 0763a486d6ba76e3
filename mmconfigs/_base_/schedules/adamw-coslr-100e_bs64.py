# For some hundred images, half an hour on two CPU cores.
_base_ = './adamw-coslr-8e_bs32.py'

optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=100)
param_scheduler = [
    dict(_base_.param_scheduler[0], end='1/20'),
    dict(_base_.param_scheduler[1], begin='1/20'),
]
auto_scale_lr = dict(base_batch_size=64)
