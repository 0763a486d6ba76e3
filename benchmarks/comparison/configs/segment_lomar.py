# UPerNet of the comparison on the nuclei, with LoMaR's positions.
_base_ = '../../../mmconfigs/tiny/upernet_vit-tiny-p8_lomar_256px.py'
load_from = None

# Crops have the size of the pretraining, and so have the windows of the evaluation: with all
# positions, grids in training and test are equal.
model = dict(
    data_preprocessor=dict(size=(192, 192)),
    backbone=dict(img_size=192),
    decode_head=dict(num_classes=3),
    auxiliary_head=dict(num_classes=3),
    test_cfg=dict(_delete_=True, mode='slide', crop_size=(192, 192), stride=(128, 128)),
)
train_dataloader = dict(
    num_workers=1,
    dataset=dict(
        metainfo=dict(classes=['background', 'nucleus', 'boundary']),
        pipeline=[
            dict(step, crop_size=(192, 192)) if step['type'] == 'RandomCrop' else step
            for step in _base_.train_dataloader.dataset.pipeline
        ],
    ),
)
val_dataloader = dict(dataset=dict(metainfo=dict(classes=['background', 'nucleus', 'boundary'])))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=300, val_interval=300)
default_hooks = dict(checkpoint=dict(interval=300, save_best=None))
