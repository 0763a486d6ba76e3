# MAE beside LoMaR: the same encoder, data and schedule.
_base_ = [
    '../../../mmconfigs/_base_/models/mae_vit-base-p16.py',
    './pretrain.py',
]

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=128,
            num_layers=4,
            num_heads=4,
            feedforward_channels=4 * 128,
        ),
        img_size=192,
        patch_size=8,
    ),
    neck=dict(
        num_patches=24 * 24,  # 192 / 8 = 24
        patch_size=8,
        embed_dim=128,
        decoder_embed_dim=64,
        decoder_depth=2,
        decoder_num_heads=4,
    ),
    head=dict(patch_size=8),
)
