# The detectors of mmconfigs/detect/ at a size for two CPU cores, on the embedded dataset.
_base_ = [
    '../_base_/models/mask-rcnn_vitdet-tiny.py',
    '../_base_/datasets/shapes_lsj-64px_bs16.py',
    '../_base_/schedules/vitdet-3e_bs16.py',
    '../_base_/runtime_detect_shapes.py',
]
load_from = 'work_dirs/demo/pretrain/epoch_12.pth'

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
