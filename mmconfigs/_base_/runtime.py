# What every run shares: log, checkpoints, exact resumption.
default_scope = 'mmpretrain'
runner_type = 'LoMaRRunner'  # for OpenMMLab's tools: theirs knows no shares in param_scheduler
custom_imports = dict(imports=['lomar.register'], allow_failed_imports=False)

default_hooks = dict(
    runtime_info=dict(type='RuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    finite_loss=dict(type='FiniteLossHook', action='stop'),  # 'skip': leaves out bad steps
    checkpoint=dict(type='SafeCheckpointHook', interval=1, max_keep_ckpts=3),
)
custom_hooks = [
    dict(type='StepSeedHook'),
    dict(type='ModelSummaryHook'),
    dict(type='ThroughputHook'),
    dict(type='UnreadableImagesHook', max_share=0.05),
    dict(type='ReconstructionHook', interval=1000),
]
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(window_size=10)

env_cfg = dict(
    cudnn_benchmark=True,  # for images of one size; off in configs with several sizes
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
    main_process_minutes=120,  # timeout for annotations, a probe or an evaluation
    step_minutes=30,  # timeout for a training step; a hung process or GPU ends the training
)
# On several GPUs; BFloat16DataParallel sends gradients as bf16.
model_wrapper_cfg = dict(type='MMDistributedDataParallel', broadcast_buffers=False)
randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
