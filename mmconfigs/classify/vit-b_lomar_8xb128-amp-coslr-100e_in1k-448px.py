_base_ = './vit-b_lomar_8xb128-amp-coslr-100e_in1k-384px.py'

model = dict(backbone=dict(img_size=448))  # iRPE has no size: weights of 224 pixels fit
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            {key: 448 if value == 384 else value for key, value in step.items()}
            for step in _base_.train_dataloader.dataset.pipeline
        ]
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            {key: 448 if value == 384 else value for key, value in step.items()}
            for step in _base_.val_dataloader.dataset.pipeline
        ]
    )
)
test_dataloader = val_dataloader
