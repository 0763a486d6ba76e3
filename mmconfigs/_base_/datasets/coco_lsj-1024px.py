# COCO with large-scale jitter, in detectron2's order: flip, resize by 0.1 to 2, crop.
train_dataloader = dict(
    batch_size=8,  # per GPU; 8 GPUs = 64
    num_workers=8,
    sampler=dict(type='InfiniteReplaySampler', shuffle=True),
    dataset=dict(
        type='CocoFiles',
        ann_file='data/coco/annotations/instances_train2017.json',
        data_prefix=dict(img='data/coco/train2017/'),
        filter_cfg=dict(filter_empty_gt=True),
        pipeline=[
            dict(type='LoadImage', color_type='color'),  # B, G, R, as mmdet's transforms expect
            dict(type='LoadInstances', with_bbox=True, with_mask=True),
            dict(type='RandomFlip', prob=0.5),
            dict(
                type='LargeScaleJitter',
                scale=(1024, 1024),
                ratio_range=(0.1, 2.0),
                crop_size=(1024, 1024),
                recompute_bbox=True,
                allow_negative_crop=True,
            ),
            # A crop without objects is trained on, too; mmdet's: another image takes its place.
            dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2), keep_empty=False),
            dict(type='PackDetInputs'),
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoFiles',
        ann_file='data/coco/annotations/instances_val2017.json',
        data_prefix=dict(img='data/coco/val2017/'),
        test_mode=True,
        pipeline=[
            # mmdet's inference functions change this type and keep `color_type`.
            dict(type='LoadImage', color_type='color'),
            # Boxes are clipped to `img_shape`, the size before padding.
            dict(type='AntialiasedResize', scale=(1024, 1024), keep_ratio=True),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            ),
        ],
    ),
)
test_dataloader = val_dataloader

val_evaluator = dict(
    type='CocoAP',
    ann_file='data/coco/annotations/instances_val2017.json',
    metric=['bbox', 'segm'],
)
test_evaluator = val_evaluator
