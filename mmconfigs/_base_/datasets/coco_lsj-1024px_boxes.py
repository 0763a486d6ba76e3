_base_ = './coco_lsj-1024px.py'

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
