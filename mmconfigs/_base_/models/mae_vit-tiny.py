# MAE beside LoMaR at a size for two CPU cores: the same encoder, and a decoder 64 wide.
_base_ = './mae_vit-base-p16.py'

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True,
            embed_dims=128,
            num_layers=4,
            num_heads=4,
            feedforward_channels=4 * 128,
        ),
    ),
    neck=dict(embed_dim=128, decoder_embed_dim=64, decoder_depth=2, decoder_num_heads=4),
)
