_base_ = './runtime.py'

default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'))
custom_hooks = [
    dict(type='StepSeedHook'),
    dict(type='ModelSummaryHook'),
    dict(type='ThroughputHook'),
    dict(type='UnreadableImagesHook', max_share=0.05),
]

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
