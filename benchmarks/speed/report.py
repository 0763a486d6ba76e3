"""Markdown tables and a plot of measured rows."""

from itertools import groupby
from pathlib import Path

from matplotlib.figure import Figure

HEAD = (
    'model',
    'batch',
    'images/s',
    'range',
    'relative speed',
    'GFLOP per image',
    'TFLOP/s',
    'of matrix rate',
    'time in products',
    'saved MB per image',
    'peak MB',
)
SETTING = ('task', 'arch', 'size', 'dtype', 'inference', 'compiled')


def by_setting(rows: list[dict]):
    """Return the rows grouped by setting; the contenders of a group ran in turns."""
    return groupby(rows, key=lambda row: tuple(row[key] for key in SETTING))


def to_markdown(rows: list[dict], rates: dict[str, float]) -> str:
    """Return one Markdown table per setting.

    Args:
        rates: FLOP/s of a matrix product for each dtype.
    """
    parts = []
    for (task, arch, size, dtype, inference, compiled), group in by_setting(rows):
        group = list(group)
        kind = 'inference' if inference else 'training step'
        title = f'{task}, ViT-{arch}, {size} px, {dtype}, {kind}{", compiled" * compiled}'
        lines = [HEAD, ('---', *['---:'] * (len(HEAD) - 1))]
        lines += [_cells(row, group[0]['images_per_second'], rates[dtype]) for row in group]
        table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
        parts.append(f'{title}\n\n{table}')
    return '\n\n'.join(parts)


def _cells(row: dict, first: float, rate: float) -> tuple[str, ...]:
    def number(value, pattern):
        return '-' if value is None else format(value, pattern)

    least, most = row['images_per_second_range']
    return (
        row['model'],
        str(row['batch']),
        f'{row["images_per_second"]:.3g}',
        f'{least:.3g} to {most:.3g}',
        f'{row["images_per_second"] / first:.2f}',
        f'{row["gflops"]:.1f}',
        f'{row["tflops_per_second"]:.3g}',
        f'{row["tflops_per_second"] * 1e12 / rate:.0%}',
        number(row['share_of_products'], '.0%'),
        number(row['saved_mb'], '.1f'),
        number(row['peak_mb'], '.0f'),
    )


def plot(rows: list[dict], out: str | Path) -> None:
    """Draw images per second over image size, one panel per architecture and dtype."""
    kinds = sorted({(row['task'], row['arch'], row['dtype'], row['compiled']) for row in rows})
    figure = Figure(figsize=(5 * len(kinds), 4), layout='constrained')
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        here = [r for r in rows if (r['task'], r['arch'], r['dtype'], r['compiled']) == kind]
        for model in dict.fromkeys(row['model'] for row in here):
            points = sorted(
                (r['size'], r['images_per_second']) for r in here if r['model'] == model
            )
            axes.plot(*zip(*points, strict=True), marker='o', label=model)
        task, arch, dtype, compiled = kind
        title = f'{task}, ViT-{arch}, {dtype}{", compiled" * compiled}'
        axes.set(title=title, xlabel='image side (pixels)', ylabel='images/s', ylim=(0, None))
        axes.legend()
    figure.savefig(out, dpi=120)
