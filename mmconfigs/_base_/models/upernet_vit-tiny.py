# UPerNet at a size for two CPU cores: a ViT 128 wide with four blocks, and small heads.
_base_ = './upernet_vit-b.py'

model = dict(
    data_preprocessor=dict(size=(256, 256), test_cfg=dict(size_divisor=8)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=4),
        img_size=256,
        patch_size=8,  # a grid of 256 / 8 = 32
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.0,  # too few steps to overfit
    ),
    neck=dict(embed_dim=128, rescales=[2, 1, 0.5, 0.25]),  # strides 4, 8, 16, 32
    decode_head=dict(in_channels=[128, 128, 128, 128], channels=64),
    auxiliary_head=dict(in_channels=128, channels=32),
    test_cfg=dict(_delete_=True, mode='whole'),
)
