# UPerNet on a plain ViT-B, after mmseg's configs/mae (1.2.2). MAE's paper (arXiv 2111.06377, A.4)
# and mmseg follow BEiT's code.
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        bgr_to_rgb=True,  # pipelines deliver B, G, R, as do mmseg's own
        mean=[123.675, 116.28, 103.53],  # R, G, B
        std=[58.395, 57.12, 57.375],
        pad_val=0,  # after normalization
        seg_pad_val=255,  # ignored
        size=(512, 512),  # of training crops
        test_cfg=dict(size_divisor=16),  # images are padded to whole patches, then cut again
    ),
    backbone=dict(
        type='RPEViT',
        arch='base',
        img_size=512,
        patch_size=16,
        out_type='featmap',
        out_indices=(3, 5, 7, 11),
        with_cls_token=False,  # as in the detectors; mmseg keeps it
        final_norm=False,  # none after the last block
        drop_path_rate=0.1,
    ),
    neck=dict(
        type='Feature2Pyramid',
        embed_dim=768,
        rescales=[4, 2, 1, 0.5],
        norm_cfg=dict(type='BN'),  # `sync_bn` makes it SyncBN in distributed training
    ),
    decode_head=dict(
        type='UPerHead',
        in_channels=[768, 768, 768, 768],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=768,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=768,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=dict(type='BN'),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    # Windows of the training's size with a third of overlap: 341 = 512 * 2 / 3.
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
sync_bn = 'torch'
