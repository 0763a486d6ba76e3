_base_ = [
    '../_base_/models/lomar_vit-base-p16.py',
    '../_base_/datasets/in1k_448px_bs512.py',
    '../_base_/schedules/adamw-coslr-400e_bs4096.py',
    '../_base_/runtime.py',
]

model = dict(backbone=dict(img_size=448))  # a grid of 448 / 16 = 28
