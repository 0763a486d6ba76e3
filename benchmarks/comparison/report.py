"""Record, tables and plot of a comparison, from its folders."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.comparison import protocol as runs
from benchmarks.comparison.protocol import CONTENDERS, METHODS, Protocol
from lomar.provenance import provenance
from lomar.visualization.loss_curve import read_scalars

NAMES = {'lomar': 'LoMaR', 'mae': 'MAE', 'scratch': 'random'}
FIGURES = dict(
    detect=dict(box_ap='box AP', box_ap50='box AP50', mask_ap='mask AP', mask_ap50='mask AP50'),
    classify=dict(top1='top-1'),
)
COLOURS = {'lomar': 'tab:orange', 'mae': 'tab:blue', 'scratch': 'tab:grey'}


def collect(work: Path, protocol: Protocol, command: str, slots: int, threads: int) -> dict:
    """Return all measurements of a comparison, and the settings to repeat it.

    AP is in percent on the validation images; times are seconds on one slot.
    """
    pretraining, results = [], []
    for method in METHODS:
        for seconds in protocol.seconds:
            epochs = runs.epochs_in(work, protocol, method, seconds)
            for seed in protocol.seeds:
                folder = runs.pretrain_folder(work, method, seconds, seed)
                pretraining.append(_pretraining(folder, method, seconds, epochs, seed, protocol))
    for run in runs.fine_tuning_runs(protocol):
        metrics = json.loads((work / run.folder / 'metrics.json').read_text())
        results.append({**asdict(run), **_figures(metrics['metrics'])})
    return dict(
        command=command,
        **provenance(slots=slots, threads=threads),
        protocol=asdict(protocol),
        step_seconds={method: runs.step_seconds(work, method) for method in METHODS},
        pretraining=pretraining,
        results=results,
    )


def _pretraining(
    folder: Path, method: str, seconds: int, epochs: int, seed: int, protocol: Protocol
) -> dict:
    records = read_scalars(folder)
    steps = epochs * (protocol.images // 32)
    # The median is robust against other load on the machine.
    took = statistics.median(record['time'] for record in records) * steps
    return dict(
        method=method,
        asked_seconds=seconds,
        seconds=round(took, 1),
        seed=seed,
        epochs=epochs,
        loss=records[-1]['loss'],
    )


def _figures(metrics: dict) -> dict:
    if 'accuracy' in metrics:
        return dict(top1=metrics['accuracy']['top1'])
    return {
        f'{name}_{figure.lower()}': metrics[kind][figure]
        for kind, name in (('bbox', 'box'), ('segm', 'mask'))
        for figure in ('AP', 'AP50')
    }


def summary(record: dict, task: str) -> list[dict]:
    """Return mean and standard deviation over the seeds, one row per setting of a task."""

    def order(run: dict) -> tuple:
        return run['labels'], CONTENDERS.index(run['contender']), run['seconds']

    rows = []
    results = [run for run in record['results'] if run['task'] == task]
    for _, group in groupby(sorted(results, key=order), order):
        seeds = list(group)
        row = {key: seeds[0][key] for key in ('labels', 'seconds', 'contender')}
        for figure in FIGURES[task]:
            values = [run[figure] for run in seeds]
            row[figure] = statistics.fmean(values), statistics.stdev(values)
        rows.append(row)
    return rows


def to_markdown(record: dict) -> str:
    """Return one Markdown table per task: mean ± standard deviation over the seeds."""
    tables = []
    for task, figures in FIGURES.items():
        head = ['labelled images', 'pretraining', 'weights', *figures.values()]
        lines = [head, ['---'] * len(head)]
        for row in summary(record, task):
            time = f'{row["seconds"]} s' if row['seconds'] else 'none'
            values = ['{:.1f} ± {:.1f}'.format(*row[figure]) for figure in figures]
            lines.append([str(row['labels']), time, NAMES[row['contender']], *values])
        tables.append('\n'.join(f'| {" | ".join(line)} |' for line in lines))
    return '\n\n'.join(tables)


def plot(record: dict, out: str | Path) -> Path:
    """Draw box and mask AP against labelled images (above) and pretraining time (below)."""
    shown = [('detect', 'box_ap'), ('detect', 'mask_ap')]
    figure = Figure(figsize=(8, 7), layout='constrained')
    panels = figure.subplots(2, len(shown)).T
    for (labels, time), (task, metric) in zip(panels, shown, strict=True):
        _draw(labels, time, record, task, metric)
    panels[0, 0].legend(fontsize=8)
    figure.savefig(out, dpi=120)
    return Path(out)


def _draw(labels: Axes, time: Axes, record: dict, task: str, metric: str) -> None:
    rows, protocol = summary(record, task), record['protocol']
    full, few, name = protocol['seconds'][-1], protocol['few'], FIGURES[task][metric]
    for contender in CONTENDERS:
        own = [row for row in rows if row['contender'] == contender]
        whole = [row for row in own if row['seconds'] in (0, full)]
        _line(labels, contender, [row['labels'] for row in whole], whole, metric)
        at_few = [row for row in own if row['labels'] == few]
        if contender == 'scratch':
            time.axhline(at_few[0][metric][0], color=COLOURS[contender], linestyle=':')
        else:
            _line(time, contender, [row['seconds'] for row in at_few], at_few, metric)
    labels.set(xscale='log', xlabel=f'labelled images, {full} s of pretraining', title=name)
    labels.set_xticks(protocol['labels'], map(str, protocol['labels']), minor=False)
    labels.minorticks_off()
    time.set(xlabel=f'seconds of pretraining, {few} labelled images', xlim=(0, None))


def _line(axes: Axes, contender: str, x: Iterable[int], rows: list[dict], metric: str) -> None:
    mean, spread = zip(*(row[metric] for row in rows), strict=True)
    style = dict(color=COLOURS[contender], label=NAMES[contender], marker='o', capsize=3)
    axes.errorbar(list(x), mean, spread, **style)
