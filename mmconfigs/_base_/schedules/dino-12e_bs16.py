# DINO with a plain ViT-B and layer decay on large-scale jitter, 16 images per step: detrex's
# projects/dino_eva/configs/dino-eva-02/dino_eva_02_vitdet_b_4attn_1024_lrd0p7_4scale_12ep.py
# (commit 97667599). For MAE's ViT-B detrex has 50.2 box AP after 12 epochs of multi-scale training,
# with a tenth of the learning rate in the whole backbone (projects/dino/configs/dino-vitdet).
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='LayerGroups',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4, fused=True),
    paramwise_cfg=dict(layer_decay=0.7, vectors_decay=True),
    clip_grad=dict(max_norm=0.1),
)
# 12 epochs = 88500 iterations x 16 images / 118000 images (detrex: 90000); the rate drops after 11.
train_cfg = dict(type='ReplayIterLoop', max_iters=88500, val_interval=5000)
param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=['11/12'], gamma=0.1)]
auto_scale_lr = dict(base_batch_size=16)
