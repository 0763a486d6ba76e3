# LoMaR that predicts the features of a frozen DINO ViT-B/16 (arXiv 2104.14294). Its weights:
#   mkdir -p checkpoints && cd checkpoints
#   curl -LO https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/dino_vitbase16_pretrain.pth
# This is the address that timm has for 'vit_base_patch16_224.dino'; the names in it are timm's.
_base_ = './lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'

model = dict(
    head=dict(
        _delete_=True,
        type='WindowHead',
        target=dict(
            type='TeacherTarget',
            teacher=dict(type='TIMMBackbone', model_name='vit_base_patch16_224'),
            weights='checkpoints/dino_vitbase16_pretrain.pth',
            stride=16,
        ),
    )
)
