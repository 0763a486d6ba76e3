# Linear probing after MAE: all frozen, a batch norm without parameters, one linear layer.
_base_ = [
    '../_base_/models/vit-b_classifier.py',
    '../_base_/datasets/in1k_224px_classes_bs128.py',
    '../_base_/schedules/lars-coslr-90e_bs16384.py',
    '../_base_/runtime_classify.py',
]

model = dict(
    backbone=dict(frozen_stages=12 + 2, drop_path_rate=0.0),
    neck=dict(type='ClsBatchNormNeck', input_features=768),
    head=dict(
        loss=dict(_delete_=True, type='CrossEntropyLoss'),
        init_cfg=dict(std=0.01),
    ),
    train_cfg=None,
)
train_dataloader = dict(
    batch_size=2048,
    dataset=dict(
        pipeline=[
            step
            for step in _base_.train_dataloader.dataset.pipeline
            if step['type'] not in ('TimmRandAugment', 'RandomErasing')
        ]
    ),
)

load_from = 'work_dirs/lomar_pretrain/epoch_1600.pth'
