# ImageNet-1k's training images, without labels; the augmentation of MAE and LoMaR.
train_dataloader = dict(
    batch_size=512,  # a GPU
    num_workers=8,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='ReplaySampler', shuffle=True),
    dataset=dict(
        type='UnlabelledImages',
        data_root='data/imagenet/train',
        pipeline=[
            dict(type='LoadRGB'),
            dict(
                type='RandomResizedCrop',
                scale=448,
                crop_ratio_range=(0.2, 1.0),
                backend='pillow',
                interpolation='bicubic',
            ),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PackInputs'),
        ],
    ),
)
