# Fine-tuning of ViT-B after MAE and LoMaR: mean of the patch tokens, a norm, one linear layer.
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        type='LabelledDataPreprocessor',
        num_classes=1000,
        mean=[123.675, 116.28, 103.53],  # R, G, B
        std=[58.395, 57.12, 57.375],
        non_blocking=True,  # asynchronous copy from pinned memory
    ),
    backbone=dict(
        type='RPEViT',
        arch='base',
        img_size=224,
        patch_size=16,
        out_type='avg_featmap',
        drop_path_rate=0.1,
    ),
    head=dict(
        type='Float32LinearClsHead',
        num_classes=1000,
        in_channels=768,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
