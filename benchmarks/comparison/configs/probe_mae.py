_base_ = './pretrain_mae.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ProbeHook', images='data/imagenette224', interval=10, max_memory=4.0),
]
