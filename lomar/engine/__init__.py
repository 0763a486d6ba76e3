"""Training: runner, hooks, parameter groups, and the config of a run."""

from lomar.engine.config import (
    check_data,
    merge_options,
    print_config,
    read_config,
    test_config,
    train_config,
)
from lomar.engine.distributed import BFloat16DataParallel
from lomar.engine.dry_run import dry_run
from lomar.engine.hooks import (
    ModelSummaryHook,
    SafeCheckpointHook,
    StepSeedHook,
    ThroughputHook,
    UnreadableImagesHook,
)
from lomar.engine.loops import ReplayIterLoop
from lomar.engine.optim import LayerGroups
from lomar.engine.probe_hook import ProbeHook
from lomar.engine.record import write_metrics
from lomar.engine.runner import Runner

__all__ = [
    'BFloat16DataParallel',
    'LayerGroups',
    'ModelSummaryHook',
    'ProbeHook',
    'ReplayIterLoop',
    'Runner',
    'SafeCheckpointHook',
    'StepSeedHook',
    'ThroughputHook',
    'UnreadableImagesHook',
    'check_data',
    'dry_run',
    'merge_options',
    'print_config',
    'read_config',
    'test_config',
    'train_config',
    'write_metrics',
]
