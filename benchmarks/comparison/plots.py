"""Plots of the comparison's results."""

import statistics
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.comparison.tables import NAMES, Key, Seconds, by_contender, final, hours

STYLES: dict[Key, dict] = {
    ('lomar', 'time'): dict(color='tab:orange', marker='o'),
    ('mae', 'time'): dict(color='tab:blue', marker='o'),
    ('mae', 'images'): dict(color='tab:blue', marker='s', linestyle='--'),
    ('random-lomar', None): dict(color='tab:grey', marker='o'),
    ('random-mae', None): dict(color='tab:grey', marker='s', linestyle='--'),
}


def plot_detector(record: dict, seconds: Seconds, out: Path) -> None:
    """Draw box and mask AP over labelled images, and box AP over the steps of fine-tuning."""
    figure = Figure(figsize=(11, 3.8), layout='constrained')
    box, mask, steps = figure.subplots(1, 3)
    _over_labels(box, record, 'detect', 'box_ap', 'box AP')
    _over_labels(mask, record, 'detect', 'mask_ap', 'mask AP')
    curves = [run for run in final(record, 'detect') if len(run['curve']) > 1]
    for key, runs in by_contender(curves).items():
        points: dict[float, list[float]] = {}
        for run in runs.values():
            for point in run['curve']:
                points.setdefault(point['step'], []).append(point['box_ap'])
        _line(steps, key, points)
    counts = ', '.join(map(str, sorted({run['labels'] for run in curves})))
    steps.set(xlabel='steps of fine-tuning', title=f'box AP, {counts} labelled images')
    box.legend(fontsize=8)
    figure.savefig(out, dpi=110)


def plot_classifier(record: dict, seconds: Seconds, out: Path) -> None:
    """Draw kNN accuracy over the hours of pretraining, for each grid, and accuracy over labels."""
    grids = sorted({run['grid'] for run in final(record, 'pretrain')})
    tuned = bool(final(record, 'classify'))
    figure = Figure(figsize=(3.7 * (len(grids) + tuned), 3.8), layout='constrained')
    places = figure.subplots(1, len(grids) + tuned, squeeze=False)[0]
    for axes, grid in zip(places, grids, strict=False):
        for key, runs in by_contender(final(record, 'pretrain', grid=grid)).items():
            points: dict[float, list[float]] = {}
            for run in runs.values():
                for point in run['curve']:
                    spent = hours(run, seconds) * point['epoch'] / run['epochs'] if key[1] else 0
                    points.setdefault(round(spent, 4), []).append(point['knn'])
            if key[1]:
                _line(axes, key, points)
            else:
                axes.axhline(statistics.fmean(points[0]), label=NAMES[key], **STYLES[key])
        axes.set(xlabel='hours of pretraining', title=f'kNN top-1, {grid} x {grid} patches')
        axes.legend(fontsize=7)
    if tuned:
        _over_labels(places[-1], record, 'classify', 'top1', 'top-1 after fine-tuning')
    figure.savefig(out, dpi=110)


def _over_labels(axes: Axes, record: dict, task: str, name: str, title: str) -> None:
    """Draw a figure over the number of labelled images, for each contender."""
    labels = sorted({run['labels'] for run in final(record, task)})
    for key in NAMES:
        points = {}
        for count in labels:
            if runs := by_contender(final(record, task, labels=count)).get(key):
                points[count] = [run['figures'][name] for run in runs.values()]
        if points:
            _line(axes, key, points)
    axes.set(xscale='log', xlabel='labelled images', title=title)
    axes.set_xticks(labels, map(str, labels), minor=False)
    axes.minorticks_off()


def _line(axes: Axes, key: Key, points: dict) -> None:
    places = sorted(points)
    means = [statistics.fmean(points[place]) for place in places]
    spreads = [statistics.stdev(points[p]) if len(points[p]) > 1 else 0 for p in places]
    axes.errorbar(places, means, spreads, label=NAMES[key], capsize=3, **STYLES[key])
