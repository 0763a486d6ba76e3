_base_ = 'lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'

model = dict(backbone=dict(patch_size=14))  # a grid of 224 / 14 = 16
