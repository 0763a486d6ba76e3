_base_ = './runtime.py'

default_scope = 'mmseg'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),  # else all evaluations are logged at step 0
    checkpoint=dict(by_epoch=False, interval=16000, max_keep_ckpts=3, save_best='iou/mIoU'),
)
log_processor = dict(by_epoch=False)
env_cfg = dict(cudnn_benchmark=False)  # images to evaluate have several sizes
custom_hooks = _base_.custom_hooks[:-1]  # without the reconstructions of a pretraining

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
