_base_ = './pretrain_mae.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='ProbeHook', images='data/imagenette224', interval=10, batch_size=256, max_memory=4.0
    ),
]
