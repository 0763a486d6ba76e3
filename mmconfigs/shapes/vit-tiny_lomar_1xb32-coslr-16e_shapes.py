# Fine-tuning at a size for two CPU cores: the main object of the images of the embedded dataset.
_base_ = [
    '../_base_/models/vit-tiny_classifier.py',
    '../_base_/datasets/in1k_224px_classes_bs128.py',
    '../_base_/schedules/adamw-coslr-100e_bs1024.py',
    '../_base_/runtime_classify.py',
]
load_from = 'work_dirs/demo/pretrain/epoch_12.pth'

model = dict(
    data_preprocessor=dict(num_classes=12),
    backbone=dict(
        img_size=64,
        patch_size=4,
    ),
    head=dict(num_classes=12),
)
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(
        data_root='data/shapes/annotations/train.txt',
        pipeline=[
            dict(step, scale=64, crop_ratio_range=(0.6, 1.0))
            if step['type'] == 'LoadRandomResizedCrop'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
            if step['type'] not in ('TimmRandAugment', 'RandomErasing')
        ],
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    dataset=dict(
        data_root='data/shapes/annotations/val.txt',
        pipeline=[  # no change for the embedded dataset, whose images have this size
            dict(type='LoadImage'),
            dict(type='ResizeEdge', scale=64, backend='pillow', interpolation='bicubic'),
            dict(type='CenterCrop', crop_size=64),
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
train_cfg = dict(max_epochs=16, val_interval=16)
param_scheduler = [  # warm-up: 50 steps for 2000 images
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end='50/992'),
    dict(_base_.param_scheduler[1], begin=0),
]
auto_scale_lr = dict(base_batch_size=32)
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(max_keep_ckpts=2))
