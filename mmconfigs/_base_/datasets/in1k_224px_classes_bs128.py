# ImageNet-1k with its classes; the augmentation that MAE and LoMaR are fine-tuned with.
train_dataloader = dict(
    batch_size=128,  # per GPU
    num_workers=8,
    drop_last=True,  # the learning rate is for complete batches
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='ReplaySampler', shuffle=True),
    dataset=dict(
        type='LabelledImages',
        data_root='data/imagenet/train',
        pipeline=[
            dict(type='LoadRandomResizedCrop', scale=224, crop_ratio_range=(0.08, 1.0)),
            dict(type='TimmRandAugment', policy='rand-m9-mstd0.5-inc1', size=224),
            dict(
                type='RandomErasing',
                erase_prob=0.25,
                mode='rand',  # every pixel of its own
                min_area_ratio=0.02,
                max_area_ratio=1 / 3,
                fill_color=[123.675, 116.28, 103.53],  # R, G, B
                fill_std=[58.395, 57.12, 57.375],
            ),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='LabelledImages',
        data_root='data/imagenet/val',
        test_mode=True,
        pipeline=[
            dict(type='LoadImage'),
            dict(
                type='ResizeEdge',
                scale=256,  # 224 / 0.875
                edge='short',
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='CenterCrop', crop_size=224),
            dict(type='PackInputs'),
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(type='ClassAccuracy')
test_evaluator = val_evaluator
