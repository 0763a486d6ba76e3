# Mask R-CNN for a first try on your own images: 400 steps of 4 images, minutes on two CPU cores.
_base_ = [
    '../_base_/models/mask-rcnn_vitdet-tiny.py',
    '../_base_/datasets/coco_lsj-1024px.py',
    '../_base_/schedules/vitdet-100e_bs64.py',
    '../_base_/runtime_detect.py',
]
load_from = 'work_dirs/lomar_vit-tiny-p8_1xb64-coslr-100e_in1k-192px/epoch_100.pth'

model = dict(
    backbone=dict(
        img_size=256,
        patch_size=8,  # a grid of 256 / 8 = 32
        drop_path_rate=0.0,  # too few steps to overfit
    ),
    neck=dict(scales=(2, 1, 0.5)),  # strides 4, 8, 16
    rpn_head=dict(anchor_generator=dict(strides=[4, 8, 16, 32])),  # boxes of 32, 64, 128, 256
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[4, 8, 16]),
        mask_roi_extractor=dict(featmap_strides=[4, 8, 16]),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=128)),
        rpn_proposal=dict(nms_pre=1000, max_per_img=400),
        rcnn=dict(sampler=dict(num=128)),
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
    num_workers=1,
    dataset=dict(
        pipeline=[
            dict(step, scale=(256, 256)) if step['type'] == 'AntialiasedResize' else step
            for step in _base_.val_dataloader.dataset.pipeline
        ],
    ),
)
test_dataloader = val_dataloader

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
default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=2))
