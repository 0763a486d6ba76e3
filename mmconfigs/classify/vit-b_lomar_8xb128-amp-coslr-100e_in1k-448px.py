_base_ = './vit-b_lomar_8xb128-amp-coslr-100e_in1k.py'

model = dict(backbone=dict(img_size=448))  # iRPE has no size: weights of 224 pixels fit
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(step, scale=448)
            if step['type'] == 'LoadRandomResizedCrop'
            else dict(step, size=448)
            if step['type'] == 'TimmRandAugment'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
        ]
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(step, scale=448)  # MAE: above 224 nothing is cropped away
            if step['type'] == 'ResizeEdge'
            else dict(step, crop_size=448)
            if step['type'] == 'CenterCrop'
            else step
            for step in _base_.val_dataloader.dataset.pipeline
        ]
    )
)
test_dataloader = val_dataloader
