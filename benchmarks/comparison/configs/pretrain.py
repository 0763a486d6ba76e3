# Data and schedule of both methods.
_base_ = [
    '../../../mmconfigs/_base_/datasets/in1k_224px_bs512.py',
    '../../../mmconfigs/_base_/schedules/adamw-coslr-8e_bs32.py',
    '../../../mmconfigs/_base_/runtime.py',
]

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(
        pipeline=[
            {**step, 'scale': 192, 'crop_ratio_range': (0.2, 1.0)}
            if step['type'] == 'LoadRandomResizedCrop'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=100)
param_scheduler = [
    dict(_base_.param_scheduler[0], end='1/20'),
    dict(_base_.param_scheduler[1], begin='1/20'),
]
auto_scale_lr = dict(base_batch_size=64)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, interval=1000))
custom_hooks = _base_.custom_hooks[:-1]  # no pictures
