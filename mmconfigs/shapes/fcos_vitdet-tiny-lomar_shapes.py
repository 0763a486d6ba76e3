# FCOS at a size for two CPU cores, on the embedded dataset.
_base_ = [
    '../_base_/models/fcos_vitdet-b.py',
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
    neck=dict(in_channels=128, out_channels=64, scales=(1, 0.5)),
    bbox_head=dict(
        num_classes=12,
        in_channels=64,
        feat_channels=64,
        stacked_convs=2,
        strides=[4, 8, 16],
        regress_ranges=((-1, 32), (32, 64), (64, 1e8)),
    ),
)
