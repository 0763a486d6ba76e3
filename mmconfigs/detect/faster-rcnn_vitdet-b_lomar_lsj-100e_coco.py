_base_ = [
    '../_base_/models/faster-rcnn_vitdet-b.py',
    '../_base_/datasets/coco_lsj-1024px.py',
    '../_base_/schedules/vitdet-100e_bs64.py',
    '../_base_/runtime_detect.py',
]

load_from = 'work_dirs/lomar_pretrain/epoch_1600.pth'

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
