# As 448 px, but the pipeline draws the four windows, resizes them alone and makes them images.
_base_ = 'lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k-448px.py'

model = dict(windows=dict(number=1))  # of each region, which is as large as a window
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(
                type='LoadWindows',
                scale=448,
                size=7 * 16,
                number=4,
                patch_size=16,
                crop_ratio_range=(0.2, 1.0),
            ),
            dict(type='PackInputs'),
        ],
    ),
)
