# ImageNet-1k's training images, without labels; the augmentation of MAE and LoMaR.
train_dataloader = dict(
    batch_size=512,  # per GPU
    num_workers=8,
    drop_last=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='ReplaySampler', shuffle=True),
    dataset=dict(
        type='UnlabelledImages',
        data_root='data/imagenet/train',
        pipeline=[
            dict(type='LoadRandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0)),
            dict(type='PackInputs'),
        ],
    ),
)
