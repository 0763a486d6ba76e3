_base_ = 'mae_vit-base-p16_8xb512-amp-coslr-400e_in1k.py'

model = dict(backbone=dict(img_size=384), neck=dict(num_patches=24 * 24))  # 384 / 16 = 24
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            {**step, 'scale': 384} if step['type'] == 'LoadRandomResizedCrop' else step
            for step in _base_.train_dataloader.dataset.pipeline
        ]
    )
)
