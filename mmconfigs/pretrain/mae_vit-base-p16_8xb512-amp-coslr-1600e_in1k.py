_base_ = [
    '../_base_/models/mae_vit-base-p16.py',
    '../_base_/datasets/in1k_224px_bs512.py',
    '../_base_/schedules/adamw-coslr-1600e_bs4096.py',
    '../_base_/runtime.py',
]

param_scheduler = [  # MAE warms up for 40 epochs
    dict(_base_.param_scheduler[0], end='40/1600'),
    dict(_base_.param_scheduler[1], begin='40/1600'),
]
custom_hooks = _base_.custom_hooks[:-1]  # the pictures are LoMaR's
