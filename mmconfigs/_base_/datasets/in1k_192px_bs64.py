# Pretraining at toy size.
_base_ = './in1k_224px_bs512.py'

train_dataloader = dict(
    batch_size=64,
    num_workers=2,
    dataset=dict(
        pipeline=[
            {**step, 'scale': 192, 'crop_ratio_range': (0.2, 1.0)}
            if step['type'] == 'LoadRandomResizedCrop'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)
