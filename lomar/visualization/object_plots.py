"""Picture of the statistics of objects in a COCO file."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lomar.annotations import ObjectStatistics
from lomar.utils import atomic_write

CLASSES = 30  # with most objects, that the picture names
BINS = 40


def plot_objects(found: ObjectStatistics, out: str | Path) -> Path:
    """Plot classes, objects per image, sizes and aspect ratios into an image file."""
    figure = Figure(figsize=(11, 8), layout='constrained')
    (classes, per_image), (sizes, ratios) = figure.subplots(2, 2)
    _plot_classes(classes, found)
    counts = found.per_image
    most = int(counts.max(initial=0))
    step = most // BINS + 1  # a bar for every number, or for as many numbers each
    per_image.hist(counts, bins=np.arange(-0.5, most + step, step).tolist())
    empty = int((counts == 0).sum())
    per_image.set(
        xlabel='objects per image', ylabel='images', title=f'{empty} images without objects'
    )
    _plot_logarithmic(sizes, np.sqrt(found.areas), 'sqrt(area) in pixels')
    for side in (32, 96):
        sizes.axvline(side, color='tab:red', linestyle=':')
    sizes.set_title(', '.join(f'{number} {name}' for name, number in found.sizes.items()))
    _plot_logarithmic(ratios, found.ratios, 'width / height of boxes')
    with atomic_write(out) as part:
        figure.savefig(part, dpi=120, format=Path(out).suffix[1:].lower())
    return Path(out)


def _plot_classes(axes: Axes, found: ObjectStatistics) -> None:
    shown = sorted(found.classes, key=lambda name: -found.objects[name])[:CLASSES]
    axes.barh(range(len(shown)), [found.objects[name] for name in shown])
    labels = [name.replace('$', r'\$') for name in shown]  # not a formula
    axes.set_yticks(range(len(shown)), labels, fontsize=7 if len(shown) > 12 else None)
    axes.invert_yaxis()
    rest = f', {CLASSES} of {len(found.classes)} classes' if len(found.classes) > CLASSES else ''
    axes.set(xlabel='objects', title=f'{len(found.areas)} objects{rest}')


def _plot_logarithmic(axes: Axes, values: np.ndarray, label: str) -> None:
    axes.set(xlabel=label, ylabel='objects', xscale='log')
    if len(values):
        low, high = values.min(), values.max()
        axes.hist(values, bins=np.geomspace(low * 0.95, high * 1.05, BINS).tolist())
