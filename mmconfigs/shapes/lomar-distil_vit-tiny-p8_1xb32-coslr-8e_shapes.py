# LoMaR with a teacher at toy size. The teacher's weights are random, which is enough to see it run
# and teaches little: name those of an encoder with head.target.weights.
_base_ = './lomar_vit-tiny-p4_1xb32-coslr-8e_shapes.py'

model = dict(
    backbone=dict(patch_size=8),  # a grid of 64 / 8 = 8
    windows=dict(size=5),  # 4 of 16 positions; windows of 7 would have no more than 4
    head=dict(
        _delete_=True,
        type='WindowHead',
        target=dict(
            type='TeacherTarget',
            teacher=dict(
                type='RPEViT',
                arch=dict(embed_dim=64, depth=2, num_heads=2),
                img_size=64,
                patch_size=8,
                out_type='featmap',
            ),
            weights='random',
            stride=8,
        ),
    ),
)
