# The classifier at a size for two CPU cores: a ViT 128 wide with four blocks.
_base_ = './vit-b_classifier.py'

model = dict(
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=4),
        drop_path_rate=0.0,
    ),
    head=dict(in_channels=128),
    train_cfg=None,  # no mixing
)
