# DINO at a size for two CPU cores, on the embedded dataset: three levels, as 5456 positions on five
# levels would take minutes per 100 steps.
_base_ = [
    '../_base_/models/dino-5scale_vitdet-b.py',
    '../_base_/datasets/shapes_lsj-64px_bs16_boxes.py',
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
    neck=dict(in_channels=128, scales=(1, 0.5)),  # DINO needs 256 channels
    num_queries=50,
    num_feature_levels=3,
    encoder=dict(
        num_layers=1,
        layer_cfg=dict(
            self_attn_cfg=dict(num_levels=3),
            ffn_cfg=dict(feedforward_channels=256),
        ),
    ),
    decoder=dict(
        num_layers=2,
        layer_cfg=dict(
            cross_attn_cfg=dict(num_levels=3),
            ffn_cfg=dict(feedforward_channels=256),
        ),
    ),
    bbox_head=dict(num_classes=12),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=20)),
    test_cfg=dict(max_per_img=50),
)
