"""From the folders of a comparison to one record, a table and a plot."""

import json
import platform
import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timezone
from itertools import groupby
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lomar.comparison import protocol as runs
from lomar.comparison.protocol import CONTENDERS, METHODS, Protocol
from lomar.visualization.curves import read_scalars

NAMES = {'lomar': 'LoMaR', 'mae': 'MAE', 'scratch': 'random'}
COLOURS = {'lomar': 'tab:orange', 'mae': 'tab:blue', 'scratch': 'tab:grey'}


def collect(work: Path, protocol: Protocol, command: str, hardware: dict) -> dict:
    """Everything that a comparison measured, and what is needed to repeat it.

    APs are percent, on the validation images; times are seconds of one slot.
    """
    pretraining, results = [], []
    for method in METHODS:
        for seconds in protocol.seconds:
            epochs = runs.epochs_in(work, protocol, method, seconds)
            for seed in protocol.seeds:
                folder = work / f'pretrain-{method}-{seconds}s-seed{seed}'
                pretraining.append(_pretraining(folder, method, seconds, epochs, seed, protocol))
    versions = {}
    for job in runs.fine_tunings(work, protocol):
        metrics = json.loads(job.result.read_text())
        versions = metrics['versions']
        results.append({**_settings(job.folder.name), **_figures(metrics['metrics'])})
    return dict(
        command=command,
        date=datetime.now(timezone.utc).isoformat(timespec='seconds'),
        commit=_commit(),
        versions=versions,
        hardware=hardware,
        protocol=asdict(protocol),
        step_seconds={method: runs.step_seconds(work, method) for method in METHODS},
        pretraining=pretraining,
        results=results,
    )


def hardware(slots: int, threads: int) -> dict:
    """What the comparison runs on, in words and numbers."""
    cpu = next(
        (
            line.split(':')[1].strip()
            for line in Path('/proc/cpuinfo').read_text().splitlines()
            if line.startswith('model name')
        ),
        platform.processor(),
    )
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return dict(cpu=cpu, gpu=gpu, slots=slots, threads=threads)


def _commit() -> str | None:
    done = subprocess.run(
        ['git', 'describe', '--always', '--dirty', '--abbrev=12'],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or None


def _pretraining(
    folder: Path, method: str, seconds: int, epochs: int, seed: int, protocol: Protocol
) -> dict:
    records = read_scalars(folder)
    steps = epochs * (protocol.images // 32)
    # The median: a machine that slept, or was busy for a while, says nothing about the method.
    took = statistics.median(record['time'] for record in records) * steps
    return dict(
        method=method,
        asked_seconds=seconds,
        seconds=round(took, 1),
        seed=seed,
        epochs=epochs,
        loss=records[-1]['loss'],
    )


def _settings(name: str) -> dict:
    """What `run_name` put into the name of a folder."""
    _, contender, *seconds, labels, seed = name.split('-')
    return dict(
        contender=contender,
        pretrain_seconds=int(seconds[0].removesuffix('s')) if seconds else 0,
        labels=int(labels.removesuffix('labels')),
        seed=int(seed.removeprefix('seed')),
    )


def _figures(metrics: dict) -> dict:
    kinds = dict(bbox='box', segm='mask')
    return {
        f'{kinds[kind]}_{name.lower()}': group[name]
        for kind, group in metrics.items()
        for name in ('AP', 'AP50')
    }


def summary(record: dict) -> list[dict]:
    """Mean and standard deviation over the seeds, a row for every setting."""
    keys = ('labels', 'pretrain_seconds', 'contender')

    def order(run: dict) -> tuple:
        return run['labels'], run['pretrain_seconds'], CONTENDERS.index(run['contender'])

    rows = []
    for _, group in groupby(sorted(record['results'], key=order), order):
        seeds = list(group)
        row = {key: seeds[0][key] for key in keys}
        for figure in ('box_ap', 'box_ap50', 'mask_ap', 'mask_ap50'):
            values = [run[figure] for run in seeds]
            row[figure] = statistics.fmean(values), statistics.stdev(values)
        rows.append(row)
    return rows


def to_markdown(record: dict) -> str:
    """The summary as a Markdown table: mean ± standard deviation over the seeds."""
    head = ['labelled images', 'pretraining', 'weights', 'box AP', 'box AP50', 'mask AP']
    lines = [head, ['---'] * len(head)]
    for row in summary(record):
        figures = ('{:.1f} ± {:.1f}'.format(*row[key]) for key in ('box_ap', 'box_ap50', 'mask_ap'))
        seconds = row['pretrain_seconds']
        time = f'{seconds} s' if seconds else 'none'
        lines.append([str(row['labels']), time, NAMES[row['contender']], *figures])
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def plot(record: dict, out: str | Path) -> Path:
    """Draw box and mask AP against labelled images and against pretraining time."""
    rows, protocol = summary(record), record['protocol']
    full, middle = protocol['seconds'][-1], protocol['middle']
    figure = Figure(figsize=(11, 4), layout='constrained')
    panels = figure.subplots(1, 4)
    for axes, (metric, name) in zip(
        panels.reshape(2, 2), (('box_ap', 'box AP'), ('mask_ap', 'mask AP')), strict=True
    ):
        labels, time = axes
        for contender in CONTENDERS:
            own = [row for row in rows if row['contender'] == contender]
            whole = [row for row in own if row['pretrain_seconds'] in (0, full)]
            _line(labels, contender, [row['labels'] for row in whole], whole, metric)
            short = [row for row in own if row['labels'] == middle]
            if contender == 'scratch':
                time.axhline(short[0][metric][0], color=COLOURS[contender], linestyle=':')
            else:
                _line(time, contender, [row['pretrain_seconds'] for row in short], short, metric)
        labels.set(xscale='log', xlabel=f'labelled images, {full} s of pretraining', title=name)
        labels.set_xticks(protocol['labels'], map(str, protocol['labels']), minor=False)
        labels.minorticks_off()
        time.set(xlabel=f'seconds of pretraining, {middle} labels', title=name, xlim=(0, None))
    panels[0].legend(fontsize=8)
    figure.savefig(out, dpi=120)
    return Path(out)


def _line(axes: Axes, contender: str, x: Iterable[int], rows: list[dict], metric: str) -> None:
    mean, spread = zip(*(row[metric] for row in rows), strict=True)
    style = dict(color=COLOURS[contender], label=NAMES[contender], marker='o', capsize=3)
    axes.errorbar(list(x), mean, spread, **style)
