# LoMaR at a size that two CPU cores can train, on the embedded dataset: see `make demo`.
_base_ = [
    '../_base_/models/lomar_vit-tiny.py',
    '../_base_/datasets/shapes_64px_bs32.py',
    '../_base_/schedules/adamw-coslr-8e_bs32.py',
    '../_base_/runtime.py',
]

model = dict(
    backbone=dict(
        img_size=64,
        patch_size=4,  # a grid of 64 / 4 = 16; about half a period of the textures
    ),
)

default_hooks = dict(logger=dict(interval=25))
custom_hooks = [*_base_.custom_hooks[:-1], dict(type='ReconstructionHook', interval=500)]
