# Mask R-CNN at a size for two CPU cores: a ViT 128 wide with four blocks, and small heads.
_base_ = './mask-rcnn_vitdet-b.py'

model = dict(
    data_preprocessor=dict(pad_size_divisor=64),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=4),
        window_size=8,
        global_blocks=(3,),
    ),
    neck=dict(in_channels=128, out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64, num_convs=1),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64, finest_scale=16),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=1,
            num_shared_fcs=1,
            in_channels=64,
            conv_out_channels=64,
            fc_out_channels=256,
        ),
        mask_roi_extractor=dict(roi_layer=dict(output_size=7), out_channels=64, finest_scale=16),
        mask_head=dict(num_convs=2, in_channels=64, conv_out_channels=64),
    ),
    train_cfg=dict(rcnn=dict(sampler=dict(pos_fraction=0.5), mask_size=14)),
)
