_base_ = './runtime.py'

default_scope = 'mmseg'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),  # else all evaluations are logged at step 0
    checkpoint=dict(by_epoch=False, interval=16000, max_keep_ckpts=3, save_best='iou/mIoU'),
)
log_processor = dict(by_epoch=False)
env_cfg = dict(cudnn_benchmark=False)  # images to evaluate have several sizes
custom_hooks = [
    dict(type='StepSeedHook'),
    dict(type='ModelSummaryHook'),
    dict(type='ThroughputHook'),
    dict(type='UnreadableImagesHook', max_share=0.05),
]

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
