# RTMDet's head on the levels with strides 8, 16 and 32. Settings are mmdet's
# rtmdet_l_8xb32-300e_coco (51.3 box AP; 53.1 with a pretrained ConvNeXt-B); nobody has published
# RTMDet with a plain ViT. The head has LayerNorm per level, as ViTDet's heads have, in place of
# SyncBN, which needs the statistics of all GPUs.
_base_ = './vitdet-b.py'

model = dict(
    type='RTMDet',
    neck=dict(scales=(2, 1, 0.5), extra_pool=False),
    bbox_head=dict(
        type='Float32RTMDetHead',
        num_classes=80,
        in_channels=256,
        stacked_convs=2,
        feat_channels=256,
        anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[8, 16, 32]),
        bbox_coder=dict(type='DistancePointBBoxCoder'),
        loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True, beta=2.0),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.0),
        with_objectness=False,
        exp_on_reg=True,
        share_conv=True,
        pred_kernel_size=1,
        norm_cfg=dict(type='LayerNorm2d', eps=1e-6),
        act_cfg=dict(type='SiLU', inplace=True),
    ),
    train_cfg=dict(
        assigner=dict(type='DynamicSoftLabelAssigner', topk=13),
        allowed_border=-1,
        pos_weight=-1,
        debug=False,
    ),
    test_cfg=dict(
        nms_pre=30000,
        min_bbox_size=0,
        score_thr=0.001,
        nms=dict(type='nms', iou_threshold=0.65),
        max_per_img=300,
    ),
)
