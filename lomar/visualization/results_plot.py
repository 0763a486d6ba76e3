"""Plot of published and measured results."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lomar.visualization.results_table import METRICS, cell, heading

COLOURS = {'measured': 'tab:orange', 'published, same recipe': 'tab:blue', 'published': 'lightblue'}


def _look(row: dict) -> str:
    near = any(key.endswith('_gap') for key in row)
    return f'{row["origin"]}, same recipe' if near else row['origin']


def _label(row: dict) -> str:
    words = [row.get(key) for key in ('method', 'model', 'detector', 'recipe', 'framework')]
    units = {'input': 'px', 'epochs': 'epochs', 'pretrain_epochs': 'of pretraining'}
    words += [f'{row[key]} {unit}' for key, unit in units.items() if row.get(key)]
    return f'{", ".join(dict.fromkeys(filter(None, words)))}\n{row["source"]}'


def _draw(axes: Axes, metric: str, rows: list[dict]) -> None:
    values = [row[metric] for row in rows]
    colours = [COLOURS[_look(row)] for row in rows]
    bars = axes.barh(range(len(rows)), [value or 0 for value in values], 0.7, color=colours)
    axes.bar_label(bars, ['' if v is None else cell('', v) for v in values], padding=3, fontsize=8)
    axes.set_yticks(range(len(rows)), map(_label, rows), fontsize=7)
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlim=(0, 1.15 * max(value or 1 for value in values)))
    axes.set_title(f'{heading(metric)} (%)', fontsize=9)
    axes.spines[['top', 'right']].set_visible(False)


def plot(rows: list[dict], out: str | Path) -> Path:
    """Plot AP and accuracy of rows as bars into an image file, one panel row per dataset."""
    groups: dict[tuple[str, str], dict] = {}
    for row in sorted(rows, key=lambda row: list(COLOURS).index(_look(row))):
        figures = [row[metric] for metric in METRICS.get(row['kind'], [])]
        if any(figure is not None for figure in figures):
            group = groups.setdefault((row['kind'], row['dataset']), {})
            group.setdefault((_label(row), *figures), row)  # once, however many tables it is in
    if not groups:
        raise ValueError('nothing to plot: no row holds AP or accuracy')
    heights = [1 + 0.32 * len(group) for group in groups.values()]
    figure = Figure(figsize=(12, sum(heights)), layout='constrained')
    grid = figure.subplots(
        nrows=len(groups), ncols=2, sharey='row', squeeze=False, height_ratios=heights
    )
    for panels, ((kind, dataset), group) in zip(grid, groups.items(), strict=True):
        for axes in panels[len(METRICS[kind]) :]:
            axes.set_axis_off()
        for axes, metric in zip(panels, METRICS[kind], strict=False):
            _draw(axes, metric, list(group.values()))
        panels[0].set_title(dataset, loc='right', x=-0.03, fontsize=10)  # above the labels
    used = [look for look in COLOURS if look in map(_look, rows)]
    handles = [Patch(color=COLOURS[look], label=look) for look in used]
    figure.legend(handles=handles, loc='outside upper right', ncols=3, fontsize=8)
    figure.savefig(out, dpi=120, bbox_inches='tight')  # long names of data stick out
    return Path(out)
