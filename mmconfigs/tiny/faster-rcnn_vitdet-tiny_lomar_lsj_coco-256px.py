# Faster R-CNN, for boxes without masks.
_base_ = './mask-rcnn_vitdet-tiny_lomar_lsj_coco-256px.py'

model = dict(
    type='FasterRCNN',
    data_preprocessor=dict(pad_mask=False),
    roi_head=dict(mask_roi_extractor=None, mask_head=None),
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            {**step, 'with_mask': False} if 'with_mask' in step else step
            for step in _base_.train_dataloader.dataset.pipeline
        ]
    )
)
val_dataloader = dict(
    dataset=dict(
        pipeline=[
            {**step, 'with_mask': False} if 'with_mask' in step else step
            for step in _base_.val_dataloader.dataset.pipeline
        ]
    )
)
test_dataloader = val_dataloader
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
