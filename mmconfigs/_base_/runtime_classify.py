_base_ = './runtime.py'

default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'))
custom_hooks = _base_.custom_hooks[:-1]  # without the reconstructions of a pretraining

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
