_base_ = 'mask-rcnn_vitdet-b_lomar_lsj-100e_coco.py'

model = dict(data_preprocessor=dict(pad_size_divisor=512), backbone=dict(img_size=512))
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            {
                **step,
                **{key: (512, 512) for key in ('scale', 'crop_size') if key in step},
            }
            for step in _base_.train_dataloader.dataset.pipeline
        ]
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            {**step, 'scale': (512, 512)} if step['type'] == 'AntialiasedResize' else step
            for step in _base_.val_dataloader.dataset.pipeline
        ]
    )
)
test_dataloader = val_dataloader
