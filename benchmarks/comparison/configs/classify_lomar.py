# Fine-tuning of the comparison on Imagenette, with LoMaR's positions.
_base_ = [
    '../../../mmconfigs/_base_/models/vit-tiny_classifier.py',
    '../../../mmconfigs/_base_/datasets/in1k_224px_classes_bs128.py',
    '../../../mmconfigs/_base_/schedules/adamw-coslr-100e_bs1024.py',
    '../../../mmconfigs/_base_/runtime_classify.py',
]

model = dict(
    data_preprocessor=dict(num_classes=10),
    backbone=dict(
        img_size=112,
        patch_size=8,  # a grid of 112 / 8 = 14
    ),
    head=dict(num_classes=10),
)
train_dataloader = dict(
    batch_size=50,
    num_workers=2,
    dataset=dict(
        pipeline=[
            dict(step, scale=112, crop_ratio_range=(0.35, 1.0))
            if step['type'] == 'LoadRandomResizedCrop'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
            if step['type'] not in ('TimmRandAugment', 'RandomErasing')
        ],
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=2,
    dataset=dict(
        pipeline=[  # the images are square
            dict(type='LoadImage'),
            dict(type='ResizeEdge', scale=112, backend='pillow', interpolation='bicubic'),
            dict(type='CenterCrop', crop_size=112),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(layer_decay=0.9),  # four blocks, not twelve
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(max_epochs=20, val_interval=20)
param_scheduler = [
    dict(_base_.param_scheduler[0], end='1/10'),
    dict(_base_.param_scheduler[1], begin='1/10'),
]
auto_scale_lr = dict(base_batch_size=50)
default_hooks = dict(checkpoint=dict(interval=1000, max_keep_ckpts=2, save_best=None))
