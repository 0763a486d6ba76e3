# Rasters of any size (TIFF, .npy) at their own resolution: four windows each, read and no more.
# Few large files: take more of each, number=64 and train_dataloader.batch_size=32.
_base_ = 'lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'

model = dict(windows=dict(number=1))  # of each region, which is as large as a window
train_dataloader = dict(
    dataset=dict(
        data_root='data/rasters/train',
        pipeline=[
            dict(type='LoadWindows', size=7 * 16, number=4),
            dict(type='PackInputs'),
        ],
    ),
)
