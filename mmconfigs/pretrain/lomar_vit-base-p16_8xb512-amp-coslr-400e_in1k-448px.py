_base_ = 'lomar_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'

model = dict(backbone=dict(img_size=448))  # a grid of 448 / 16 = 28
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            {**step, 'scale': 448} if step['type'] == 'LoadRandomResizedCrop' else step
            for step in _base_.train_dataloader.dataset.pipeline
        ]
    )
)
