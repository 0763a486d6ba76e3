# UPerNet for a first try on your own images: 400 steps of 4 images, minutes on two CPU cores.
#     lomar train tiny/upernet_vit-tiny-p8_lomar_256px --train-images DIR --train-masks DIR \
#         --val-images DIR --val-masks DIR --classes background road car
_base_ = [
    '../_base_/models/upernet_vit-tiny.py',
    '../_base_/datasets/ade20k_512px.py',
    '../_base_/schedules/upernet-160k_bs16.py',
    '../_base_/runtime_segment.py',
]
load_from = 'work_dirs/lomar_vit-tiny-p8_1xb64-coslr-100e_in1k-192px/epoch_100.pth'

train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    dataset=dict(
        data_root='data/segment/train/images',
        mask_root='data/segment/train/masks',
        metainfo=dict(_delete_=True),  # --classes
        reduce_zero_label=False,
        pipeline=[
            dict(step, scale=(1024, 256), ratio_range=(0.75, 2.0))
            if step['type'] == 'RandomResize'
            else dict(step, crop_size=(256, 256))
            if step['type'] == 'RandomCrop'
            else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)
val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        data_root='data/segment/val/images',
        mask_root='data/segment/val/masks',
        metainfo=dict(_delete_=True),
        reduce_zero_label=False,
        pipeline=[
            dict(step, scale=(1024, 256)) if step['type'] == 'Resize' else step
            for step in _base_.val_dataloader.dataset.pipeline
        ],
    ),
)
test_dataloader = val_dataloader

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(lr=1e-3),
    paramwise_cfg=dict(layer_decay=0.9),  # four blocks, not twelve
    clip_grad=dict(max_norm=1.0),
)
train_cfg = dict(max_iters=400, val_interval=100)
param_scheduler = [
    dict(_base_.param_scheduler[0], start_factor=0.001, end='50/400'),
    dict(type='CosineAnnealingLR', by_epoch=False),
]
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(checkpoint=dict(interval=100, max_keep_ckpts=2))
