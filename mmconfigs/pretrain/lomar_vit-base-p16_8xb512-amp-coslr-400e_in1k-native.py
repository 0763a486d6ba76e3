# Images at their own sizes, which differ within a batch; nothing is padded.
_base_ = 'lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'

env_cfg = dict(cudnn_benchmark=False)  # image sizes vary
train_dataloader = dict(
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        pipeline=[
            # A grid of 8 x 8 has (8 - 7 + 1) ** 2 = 4 places for the four windows.
            dict(type='LoadNative', patch_size=16, min_grid=8, max_side=512),
            dict(type='PackInputs'),
        ],
    ),
)
