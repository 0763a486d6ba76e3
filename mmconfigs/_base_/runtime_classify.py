_base_ = './runtime.py'

custom_imports = dict(imports=['lomar', 'lomar.classification'], allow_failed_imports=False)

default_hooks = dict(checkpoint=dict(save_best='accuracy/top1'))
custom_hooks = [
    dict(type='StepSeedHook'),
    dict(type='ModelSummaryHook'),
    dict(type='ThroughputHook'),
    dict(type='UnreadableImagesHook', max_share=0.05),
]

val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
