# Mask2Former at a size for two CPU cores, on the embedded dataset.
_base_ = [
    '../_base_/models/mask2former_vitdet-b.py',
    '../_base_/datasets/shapes_lsj-64px_bs16.py',
    '../_base_/schedules/vitdet-3e_bs16.py',
    '../_base_/runtime_detect_shapes.py',
]
load_from = 'work_dirs/demo/pretrain/epoch_12.pth'

model = dict(
    data_preprocessor=dict(pad_size_divisor=64),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=4),
        img_size=64,
        patch_size=4,  # a grid of 64 / 4 = 16
        window_size=8,
        global_blocks=(3,),
    ),
    neck=dict(in_channels=128, out_channels=64, scales=(2, 1, 0.5), extra_pool=True),
    panoptic_head=dict(
        in_channels=[64, 64, 64, 64],
        strides=[2, 4, 8, 16],
        feat_channels=64,
        out_channels=64,
        num_things_classes=12,
        num_queries=20,
        pixel_decoder=dict(
            norm_cfg=dict(num_groups=8),
            encoder=dict(
                num_layers=2,
                layer_cfg=dict(
                    self_attn_cfg=dict(embed_dims=64, num_heads=4),
                    ffn_cfg=dict(embed_dims=64, feedforward_channels=128),
                ),
            ),
            positional_encoding=dict(num_feats=32),
        ),
        positional_encoding=dict(num_feats=32),
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=64, num_heads=4),
                cross_attn_cfg=dict(embed_dims=64, num_heads=4),
                ffn_cfg=dict(embed_dims=64, feedforward_channels=128),
            ),
        ),
        loss_cls=dict(class_weight=[1.0] * 12 + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=12),
    train_cfg=dict(num_points=512),
    test_cfg=dict(max_per_image=20),
)
