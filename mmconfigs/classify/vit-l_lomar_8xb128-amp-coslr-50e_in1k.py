# ViT-L with MAE's recipe: half the epochs, twice the learning rate, more drop path and a higher
# layer decay factor.
_base_ = './vit-b_lomar_8xb128-amp-coslr-100e_in1k.py'

model = dict(backbone=dict(arch='large', drop_path_rate=0.2), head=dict(in_channels=1024))
optim_wrapper = dict(
    optimizer=dict(lr=1e-3 * 1024 / 256),
    paramwise_cfg=dict(layer_decay=0.75),
)
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(_base_.param_scheduler[0], end='5/50'),
    dict(
        _base_.param_scheduler[1],
        begin='5/50',
        eta_min_ratio=1e-6 / (1e-3 * 1024 / 256),
    ),
]

load_from = 'work_dirs/lomar_vit-large-p16_8xb512-amp-coslr-1600e_in1k/epoch_1600.pth'
