# LoMaR with BEiT's target (arXiv 2106.08254): the tokens of DALL-E's encoder. Download it from
# https://download.openmmlab.com/mmselfsup/1.x/target_generator_ckpt/dalle_encoder.pth
_base_ = 'lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'

model = dict(
    head=dict(
        _delete_=True,
        type='WindowHead',
        target=dict(
            type='TokenTarget',
            tokenizer=dict(type='DALL-E'),
            weights='checkpoints/dalle_encoder.pth',
        ),
    ),
)
