# The detectors of mmconfigs/detect/ at a size for two CPU cores, on the embedded dataset.
_base_ = [
    '../_base_/models/mask-rcnn_vitdet-tiny.py',
    '../_base_/datasets/coco_lsj-1024px.py',
    '../_base_/schedules/vitdet-100e_bs64.py',
    '../_base_/runtime_detect.py',
]
load_from = 'work_dirs/demo/pretrain/epoch_8.pth'

model = dict(
    backbone=dict(
        img_size=64,
        patch_size=4,  # a grid of 64 / 4 = 16
    ),
    neck=dict(scales=(1, 0.5)),
    rpn_head=dict(
        # Objects are 14 to 36 pixels wide: boxes of 16 and 32.
        anchor_generator=dict(scales=[4], strides=[4, 8, 16]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[4, 8]),
        bbox_head=dict(num_classes=12),
        mask_roi_extractor=dict(featmap_strides=[4, 8]),
        mask_head=dict(num_classes=12),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=32)),
        rpn_proposal=dict(nms_pre=100, max_per_img=50),
        rcnn=dict(sampler=dict(num=16)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=50)),
)

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    drop_last=True,
    sampler=dict(type='ReplaySampler'),
    dataset=dict(
        ann_file='data/shapes/annotations/train.json',
        data_prefix=dict(img='data/shapes/train/'),
        pipeline=[
            dict(step, scale=(64, 64), ratio_range=(0.75, 1.5), crop_size=(64, 64))
            if step['type'] == 'LargeScaleJitter'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        ann_file='data/shapes/annotations/val.json',
        data_prefix=dict(img='data/shapes/val/'),
        pipeline=[
            dict(step, scale=(64, 64)) if step['type'] == 'AntialiasedResize' else step
            for step in _base_.val_dataloader.dataset.pipeline
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/shapes/annotations/val.json')
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=0.9),  # four blocks, not twelve
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=3, val_interval=3)
param_scheduler = [  # warm-up: 50 steps for 4000 images
    dict(_base_.param_scheduler[0], end='50/750'),
    dict(type='CosineAnnealingLR', convert_to_iter_based=True),
]
auto_scale_lr = dict(base_batch_size=16)

default_hooks = dict(
    checkpoint=dict(by_epoch=True, interval=1, max_keep_ckpts=2),
    logger=dict(interval=25),
)
log_processor = dict(by_epoch=True)
