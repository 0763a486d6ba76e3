# FCOS on all levels of the pyramid, as in EasyCV's configs/detection/vitdet/_base_/models/
# vitdet_fcos.py (commit bd06f19d), for which no AP is published. Settings of the head are mmdet's
# fcos_r50-caffe_fpn_gn-head-center-normbbox-centeronreg-giou_1x_coco (38.7 box AP with ResNet-50,
# plain FCOS 36.6). A level is responsible for distances up to 8 strides, as in FCOS.
_base_ = './vitdet-b.py'

model = dict(
    type='FCOS',
    bbox_head=dict(
        type='Float32FCOSHead',
        num_classes=80,
        in_channels=256,
        stacked_convs=4,
        feat_channels=256,
        strides=[4, 8, 16, 32, 64],
        regress_ranges=((-1, 32), (32, 64), (64, 128), (128, 256), (256, 1e8)),
        center_sampling=True,
        norm_on_bbox=True,
        centerness_on_reg=True,
        conv_bias=True,
        loss_cls=dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25),
        loss_bbox=dict(type='GIoULoss'),
        loss_centerness=dict(type='CrossEntropyLoss', use_sigmoid=True),
    ),
    test_cfg=dict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.6),
        max_per_img=100,
    ),
)
