_base_ = [
    '../_base_/models/lomar_vit-base-p16.py',
    '../_base_/datasets/in1k_224px_bs512.py',
    '../_base_/schedules/adamw-coslr-400e_bs4096.py',
    '../_base_/runtime.py',
]

model = dict(backbone=dict(img_size=384))  # a grid of 384 / 16 = 24
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            {**step, 'scale': 384} if step['type'] == 'LoadRandomResizedCrop' else step
            for step in _base_.train_dataloader.dataset.pipeline
        ]
    )
)
