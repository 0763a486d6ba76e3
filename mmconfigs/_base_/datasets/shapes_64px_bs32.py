# The embedded dataset for pretraining.
_base_ = './in1k_224px_bs512.py'

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(
        data_root='data/shapes/train',
        pipeline=[
            {**step, 'scale': 64, 'crop_ratio_range': (0.5, 1.0)}
            if step['type'] == 'LoadRandomResizedCrop'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)
