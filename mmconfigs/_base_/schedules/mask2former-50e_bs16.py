# Mask2Former's schedule for 16 images per step (mmdet: mask2former_r50_8xb2-lsj-50e_coco), with
# ViTDet's layer decay in place of a tenth of the learning rate in the whole backbone.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    constructor='LayerGroups',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    paramwise_cfg=dict(
        layer_decay=0.7,
        # mmdet spares norms and embeddings; here biases are spared, too.
        no_decay=['*.query_embed.*', '*.query_feat.*', '*.level_embed.*', '*.level_encoding.*'],
    ),
    clip_grad=dict(max_norm=0.01),
)
# 50 epochs = 368750 iterations x 16 images / 118000 images.
train_cfg = dict(type='ReplayIterLoop', max_iters=368750, val_interval=5000)
param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=False,
        milestones=['327778/368750', '355092/368750'],  # near 8/9 and 26/27 of the training
        gamma=0.1,
    ),
]
auto_scale_lr = dict(base_batch_size=16)
