# Mask R-CNN of the comparison on the nuclei, with LoMaR's positions.
_base_ = '../../../mmconfigs/tiny/mask-rcnn_vitdet-tiny_lomar_lsj_coco-256px.py'
load_from = None

model = dict(
    rpn_head=dict(
        # Nine of ten nuclei are 5 to 40 pixels wide: boxes of 12, 24 and 48.
        anchor_generator=dict(scales=[3]),
    ),
    roi_head=dict(bbox_head=dict(num_classes=1), mask_head=dict(num_classes=1)),
    test_cfg=dict(
        rpn=dict(max_per_img=800),
        rcnn=dict(max_per_img=375),  # as many nuclei as one image has
    ),
)

val_evaluator = dict(max_dets=375)
test_evaluator = val_evaluator

default_hooks = dict(checkpoint=dict(interval=400, save_best=None))
