# Mask R-CNN of the comparison on the nuclei, with LoMaR's positions.
_base_ = [
    '../../../mmconfigs/_base_/models/mask-rcnn_vitdet-tiny.py',
    '../../../mmconfigs/_base_/datasets/coco_lsj-1024px.py',
    '../../../mmconfigs/_base_/schedules/vitdet-100e_bs64.py',
    '../../../mmconfigs/_base_/runtime_detect.py',
]

model = dict(
    backbone=dict(
        img_size=256,
        patch_size=8,  # a grid of 256 / 8 = 32
        drop_path_rate=0.0,
    ),
    neck=dict(scales=(2, 1, 0.5)),  # strides 4, 8, 16
    rpn_head=dict(
        # Nine of ten nuclei are 5 to 40 pixels wide: boxes of 12, 24 and 48.
        anchor_generator=dict(scales=[3], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[4, 8, 16]),
        bbox_head=dict(num_classes=1),
        mask_roi_extractor=dict(featmap_strides=[4, 8, 16]),
        mask_head=dict(num_classes=1),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=1000, max_per_img=400),
        rcnn=dict(sampler=dict(num=128)),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=1000, max_per_img=800),
        rcnn=dict(max_per_img=375),  # as many nuclei as one image has
    ),
)

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        pipeline=[
            dict(step, scale=(256, 256), ratio_range=(0.75, 2.0), crop_size=(256, 256))
            if step['type'] == 'LargeScaleJitter'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=1,
    dataset=dict(
        pipeline=[
            dict(step, scale=(256, 256)) if step['type'] == 'AntialiasedResize' else step
            for step in _base_.val_dataloader.dataset.pipeline
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(max_dets=375)
test_evaluator = val_evaluator

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(layer_decay=0.9),  # four blocks, not twelve
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(max_iters=400, val_interval=100)
param_scheduler = [
    dict(_base_.param_scheduler[0], end='50/400'),
    dict(type='CosineAnnealingLR', by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(checkpoint=dict(interval=400, max_keep_ckpts=2, save_best=None))
