_base_ = './runtime.py'

default_scope = 'mmdet'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),  # else all evaluations are logged at step 0
    checkpoint=dict(by_epoch=False, interval=5000, max_keep_ckpts=5, save_best='coco/bbox_mAP'),
    visualization=dict(type='DetectionPicturesHook'),
)
log_processor = dict(by_epoch=False)
env_cfg = dict(cudnn_benchmark=False)  # numbers of proposals and objects vary
custom_hooks = _base_.custom_hooks[:-1]  # without the reconstructions of a pretraining
visualizer = dict(
    _delete_=True, type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')]
)

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
