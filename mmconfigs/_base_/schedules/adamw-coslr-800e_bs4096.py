_base_ = './adamw-coslr-1600e_bs4096.py'

train_cfg = dict(max_epochs=800)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=800 // 20),
    dict(_base_.param_scheduler[1], T_max=800 - 800 // 20, begin=800 // 20, end=800),
]
