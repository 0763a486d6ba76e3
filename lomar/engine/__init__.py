"""Training: runner, hooks, parameter groups and the command line."""

from lomar.engine.distributed import BFloat16DataParallel
from lomar.engine.flags import test_parser, train_parser
from lomar.engine.hooks import (
    ModelSummaryHook,
    SafeCheckpointHook,
    StepSeedHook,
    ThroughputHook,
    UnreadableImagesHook,
)
from lomar.engine.launch import merge_options, test_config, train_config
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
    'merge_options',
    'test_config',
    'test_parser',
    'train_config',
    'train_parser',
    'write_metrics',
]
