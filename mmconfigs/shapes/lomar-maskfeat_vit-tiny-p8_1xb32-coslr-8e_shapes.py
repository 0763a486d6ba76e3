# LoMaR with MaskFeat's target at toy size: a patch is one cell of 8 pixels.
_base_ = './lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'

model = dict(
    backbone=dict(patch_size=8),  # a grid of 64 / 8 = 8
    windows=dict(size=5),  # 4 of 16 positions; windows of 7 would have no more than 4
    head=dict(_delete_=True, type='WindowHead', target=dict(type='HOGTarget')),
)
