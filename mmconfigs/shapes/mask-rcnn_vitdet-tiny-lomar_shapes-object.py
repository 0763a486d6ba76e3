# The detector of `lomar demo`: one class, `lomar shapes --categories object`.
_base_ = 'mask-rcnn_vitdet-tiny-lomar_shapes.py'

model = dict(
    backbone=dict(drop_path_rate=0.0),  # too few steps to overfit
    roi_head=dict(
        bbox_head=dict(reg_class_agnostic=True, num_classes=1),
        mask_head=dict(class_agnostic=True, num_classes=1),
    ),
)
train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        pipeline=[
            dict(step, ratio_range=(0.9, 1.25)) if step['type'] == 'LargeScaleJitter' else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=5, val_interval=5)  # 750 steps for 1200 images
auto_scale_lr = dict(base_batch_size=8)
