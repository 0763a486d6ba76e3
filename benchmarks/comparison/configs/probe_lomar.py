# Pretraining on Imagenette with probes of the frozen features.
_base_ = './pretrain_lomar.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='ProbeHook', images='data/imagenette224', interval=10, max_memory=4.0),
]
