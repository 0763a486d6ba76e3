_base_ = './adamw-coslr-1600e_bs4096.py'

train_cfg = dict(max_epochs=400)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=400 // 20),
    dict(_base_.param_scheduler[1], T_max=400 - 400 // 20, begin=400 // 20, end=400),
]
