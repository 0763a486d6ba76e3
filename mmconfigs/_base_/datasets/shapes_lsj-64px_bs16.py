# The embedded dataset with large-scale jitter.
_base_ = './coco_lsj-1024px.py'

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    drop_last=True,
    sampler=dict(type='ReplaySampler'),
    dataset=dict(
        ann_file='data/shapes/annotations/train.json',
        data_prefix=dict(img='data/shapes/train/'),
        pipeline=[
            dict(step, scale=(64, 64), ratio_range=(0.75, 1.5), crop_size=(64, 64))
            if step['type'] == 'LargeScaleJitter'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        ann_file='data/shapes/annotations/val.json',
        data_prefix=dict(img='data/shapes/val/'),
        pipeline=[
            dict(step, scale=(64, 64)) if step['type'] == 'AntialiasedResize' else step
            for step in _base_.val_dataloader.dataset.pipeline
        ],
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file='data/shapes/annotations/val.json')
test_evaluator = val_evaluator
