# mmseg's schedule of configs/mae (1.2.2) for 16 images per step. MAE's paper (A.4): 100 epochs with
# batch 16, which are 126k iterations of ADE20K's 20210 images.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='LayerGroups',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(layer_decay=0.65),
)
train_cfg = dict(type='ReplayIterLoop', max_iters=160000, val_interval=16000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end='1500/160000'),
    dict(type='PolyLR', by_epoch=False, begin='1500/160000', power=1.0, eta_min=0.0),
]
auto_scale_lr = dict(base_batch_size=16)
