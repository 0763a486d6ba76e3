"""The runs of a study with their estimated hours, before anything is trained."""

import itertools
from collections.abc import Generator, Mapping
from itertools import chain

from benchmarks.comparison.protocol import Scale
from benchmarks.comparison.runs import Run, positions
from benchmarks.comparison.search import Scores, each_stage
from benchmarks.results.page import table


def plan(
    stages: Generator[list[Run], Scores, object],
    scale: Scale,
    seconds: Mapping[str, Mapping[str, float]],
    slots: int,
) -> str:
    """Return a table of the cells of a study, in the order of their runs.

    The hours are those of the machine. Pretraining is estimated from the steps and the seconds per
    step measured alone, probes and fine-tuning from `Scale`; images are not read faster on more
    slots.

    Args:
        stages: see `nuclei.stages`; without scores, each search chooses its first rate.
        seconds: seconds per step of each method by side of the image in pixels.
        slots: number of runs at a time.
    """
    cells: dict[tuple, list[Run]] = {}
    seen: set[str] = set()
    count = itertools.count(1)

    def add(runs: list[Run]) -> Scores:
        stage = next(count)
        for one in chain.from_iterable((run.start, run) for run in runs):
            if one and one.name not in seen:
                seen.add(one.name)
                cells.setdefault((stage, *_cell(one)), []).append(one)
        return {}

    each_stage(stages, add)
    rows = [('stage', 'task', 'contender', 'setting', 'runs', 'hours')]
    total = 0.0
    for (stage, *words), found in cells.items():
        spent = sum(_hours(run, scale, seconds, slots) for run in found)
        total += spent
        rows.append((str(stage), *words, str(len(found)), f'{spent:.2f}'))
    return f'{table(rows)}\n\n{len(seen)} runs, {total:.1f} hours'


def _cell(run: Run) -> tuple[str, str, str]:
    left_out = ('task', 'contender', 'seed', 'rate', 'pretrain_rate')
    words = [f'{key} {value}' for key, value in run.keys.items() if key not in left_out]
    return run.keys['task'], run.keys['contender'], ', '.join(words)


def _hours(run: Run, scale: Scale, seconds: Mapping, slots: int) -> float:
    if run.keys['task'] == 'detect':
        return scale.detector_hours / slots
    if run.keys['task'] == 'segment':
        return scale.segmenter_hours / slots
    if run.keys['task'] == 'classify':
        return scale.classifier_hours / slots
    method = positions(run.keys['contender'])
    side = run.options['model.backbone.img_size']
    trained = 0 if run.keys['contender'] != method else run.steps * seconds[str(side)][method]
    probe = dict(scale.probe_hours).get(side // scale.patch, 0.0) * (
        2 / 3 if method == 'mae' else 1
    )
    return trained / 3600 + run.probes * probe / slots
