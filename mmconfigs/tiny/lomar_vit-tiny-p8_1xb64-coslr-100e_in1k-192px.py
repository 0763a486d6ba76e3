# LoMaR for a first try on your own images: a ViT 128 wide with four blocks, on two CPU cores.
_base_ = [
    '../_base_/models/lomar_vit-tiny.py',
    '../_base_/datasets/in1k_192px_bs64.py',
    '../_base_/schedules/adamw-coslr-100e_bs64.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(
        img_size=192,
        patch_size=8,  # a grid of 192 / 8 = 24
    ),
)
