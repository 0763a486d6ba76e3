# LoMaR of the comparison on real images: a ViT 128 wide with four blocks, patches of 8 pixels.
_base_ = [
    '../../../mmconfigs/_base_/models/lomar_vit-tiny.py',
    './pretrain.py',
]

model = dict(
    backbone=dict(
        img_size=192,
        patch_size=8,  # a grid of 192 / 8 = 24
    ),
)
