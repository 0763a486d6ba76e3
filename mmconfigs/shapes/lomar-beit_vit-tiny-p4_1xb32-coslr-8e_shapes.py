# LoMaR that predicts tokens, on the embedded dataset. First train the tokenizer (a minute):
# lomar tokenizer --images data/shapes/train --out data/shapes/tokenizer.pth
#     --patch-size 4 --size 64 --vocabulary 256 --steps 1000
_base_ = 'lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'

model = dict(
    head=dict(
        _delete_=True,
        type='WindowHead',
        target=dict(
            type='TokenTarget',
            tokenizer=dict(type='PatchTokenizer'),
            weights='data/shapes/tokenizer.pth',
        ),
    ),
)
