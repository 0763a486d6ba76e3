"""Trainings of the comparison: what is trained, its name in the results, its commands."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lomar.cli.config_options import option

METHODS = ('lomar', 'mae')
# Random weights come with the positions of either method.
CONTENDERS = ('lomar', 'mae', 'random-lomar', 'random-mae')
CONFIGS = Path(__file__).with_name('configs')


def positions(contender: str) -> str:
    """Return the method whose position encoding a contender has."""
    return contender.removeprefix('random-')


@dataclass(frozen=True)
class Run:
    """A training, and its evaluation.

    Attributes:
        keys: values that distinguish the run: task and contender, then others; part of its result.
        config: config file.
        flags: flags of `lomar train`.
        options: settings that differ from the config.
        steps: steps of a pretraining.
        probes: number of its probes of frozen features.
        start: pretraining whose weights the run starts from; None for random weights.
    """

    keys: Mapping[str, Any]
    config: Path
    flags: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    start: 'Run | None' = None
    steps: int = 0
    probes: int = 0

    @property
    def name(self) -> str:
        """Return the name of the run's folder and result."""
        return name_of(self.keys)

    def command(self, work: Path) -> list[str]:
        """Return the arguments of `lomar` that train and evaluate in a folder of `work`."""
        folder = work / self.name
        words = [f'{key}={value}' for key, value in self.options.items()]
        if self.start:
            words.append(option('load_from', str(checkpoint(work, self.start))))
        return [
            *(
                'train',
                str(self.config),
                '--work-dir',
                str(folder),
                '--amp',
                '--resume',
                *self.flags,
            ),
            *('--cfg-options', *words),
        ]


def name_of(keys: Mapping[str, Any]) -> str:
    """Return the name of the run with these keys."""
    task, contender, *others = keys.items()
    words = [task[1], contender[1], *(f'{key}-{value}' for key, value in others)]
    # The name is also a folder: plain characters only.
    return re.sub('[^a-zA-Z0-9_.-]+', '-', '_'.join(words))


def checkpoint(work: Path, run: Run) -> Path:
    """Return the path of the weights after a pretraining."""
    return work / run.name / f'epoch_{run.options["train_cfg.max_epochs"]}.pth'
