# detectron2's ViTDet schedule for 64 images per step.

optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='LayerGroups',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.1, fused=True),
    paramwise_cfg=dict(
        layer_decay=0.7,
        # As in detectron2, only the norms of the backbone are spared: its own LayerNorm of maps in
        # pyramid and heads escapes the rule, and biases decay.
        vectors_decay=True,
        no_decay=['backbone.*norm*'],
    ),
)
# 100 epochs = 184375 iterations x 64 images / 118000 images. The schedule is in shares of the
# iterations, as in detectron2, so train_cfg.max_iters sets its length.
train_cfg = dict(type='ReplayIterLoop', max_iters=184375, val_interval=5000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end='250/184375'),
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=['163889/184375', '177546/184375'],  # near 8/9 and 26/27 of the training
        gamma=0.1,
    ),
]
auto_scale_lr = dict(base_batch_size=64)
