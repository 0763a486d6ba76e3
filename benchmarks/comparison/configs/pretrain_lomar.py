# LoMaR of the comparison on real images: a ViT 128 wide with four blocks, patches of 8 pixels.
_base_ = [
    '../../../mmconfigs/_base_/models/lomar_vit-base-p16.py',
    './pretrain.py',
]

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=4),
        img_size=192,
        patch_size=8,  # a grid of 192 / 8 = 24
    ),
)
