# Published: 85.4 % top-1 (arXiv 2206.00790).
_base_ = './vit-b_lomar_8xb128-amp-coslr-100e_in1k.py'

model = dict(backbone=dict(img_size=384))  # iRPE has no size: weights of 224 pixels fit
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            {key: 384 if value == 224 else value for key, value in step.items()}
            for step in _base_.train_dataloader.dataset.pipeline
        ]
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            # MAE: above 224 pixels nothing is cropped away
            {key: 384 if value in (224, 256) else value for key, value in step.items()}
            for step in _base_.val_dataloader.dataset.pipeline
        ]
    )
)
test_dataloader = val_dataloader
