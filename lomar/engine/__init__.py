"""Training: runner, hooks, parameter groups and the command line."""

from lomar.engine.hooks import (
    ModelSummaryHook,
    SafeCheckpointHook,
    StepSeedHook,
    ThroughputHook,
    UnreadableImagesHook,
)
from lomar.engine.launch import load_config, train_parser
from lomar.engine.loops import ReplayIterLoop
from lomar.engine.optim import LayerGroups
from lomar.engine.runner import Runner

__all__ = [
    'LayerGroups',
    'ModelSummaryHook',
    'ReplayIterLoop',
    'Runner',
    'SafeCheckpointHook',
    'StepSeedHook',
    'ThroughputHook',
    'UnreadableImagesHook',
    'load_config',
    'train_parser',
]
