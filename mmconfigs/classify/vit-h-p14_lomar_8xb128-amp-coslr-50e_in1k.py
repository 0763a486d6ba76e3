_base_ = './vit-l_lomar_8xb128-amp-coslr-50e_in1k.py'

model = dict(
    backbone=dict(arch='huge', patch_size=14, drop_path_rate=0.3),
    head=dict(in_channels=1280),
)

load_from = 'work_dirs/lomar_vit-huge-p14_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
