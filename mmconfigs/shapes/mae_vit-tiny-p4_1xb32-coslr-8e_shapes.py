# MAE beside LoMaR on the embedded dataset: the same encoder width and depth, data and schedule.
_base_ = 'lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'

model = dict(
    _delete_=True,
    type='MAE',
    data_preprocessor=_base_.model.data_preprocessor,
    backbone=dict(
        type='MAEViT',
        arch=dict(embed_dims=128, num_layers=4, num_heads=4, feedforward_channels=4 * 128),
        img_size=96,
        patch_size=4,
        mask_ratio=0.75,
    ),
    neck=dict(
        type='MAEPretrainDecoder',
        num_patches=24 * 24,
        patch_size=4,
        embed_dim=128,
        decoder_embed_dim=64,
        decoder_depth=2,
        decoder_num_heads=4,
    ),
    head=dict(
        type='MAEPretrainHead',
        norm_pix=True,
        patch_size=4,
        loss=dict(type='PixelReconstructionLoss', criterion='L2'),
    ),
    init_cfg=[
        dict(type='Xavier', layer='Linear', distribution='uniform'),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
)
custom_hooks = _base_.custom_hooks[:-1]  # the pictures are LoMaR's
