_base_ = 'mae_vit-base-p16_8xb512-amp-coslr-1600e_in1k.py'

model = dict(
    backbone=dict(arch='huge', patch_size=14),
    neck=dict(embed_dim=1280, num_patches=16 * 16, patch_size=14),  # 224 / 14 = 16
    head=dict(patch_size=14),
)
