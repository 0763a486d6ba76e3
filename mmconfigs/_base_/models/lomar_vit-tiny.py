# LoMaR at a size for two CPU cores: a ViT 128 wide with four blocks.
_base_ = './lomar_vit-base-p16.py'

model = dict(backbone=dict(arch=dict(_delete_=True, embed_dim=128, depth=4, num_heads=4)))
