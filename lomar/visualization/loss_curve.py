"""Loss curves from mmengine's scalar logs."""

import json
from pathlib import Path

from matplotlib.figure import Figure


def read_scalars(work_dir: str | Path) -> list[dict]:
    """Return the log records of the last run in a work dir and of the runs that it resumed.

    They are in the order of steps.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(f'{work_dir} has no */vis_data/scalars.json: was anything trained?')
    records: list[dict] = []
    for file in files:
        lines = map(json.loads, file.read_text().splitlines())
        found = [record for record in lines if 'loss' in record]
        if found:  # a later run replaces what earlier ones logged from its first step on
            records = [one for one in records if one['step'] < found[0]['step']] + found
    return records


def plot_loss(work_dir: str | Path, out: str | Path) -> Path:
    """Plot loss and learning rate over steps into an image file."""
    records = read_scalars(work_dir)
    steps = [record['step'] for record in records]
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    axes.plot(steps, [record['loss'] for record in records], color='tab:blue')
    axes.axhline(1, color='grey', linestyle=':', label="the patch's mean (1.0 with norm_pix)")
    axes.set(xlabel='step', ylabel='loss (mean squared error)', ylim=(0, None))
    axes.legend(loc='lower left')
    rate = axes.twinx()
    rate.plot(steps, [record['lr'] for record in records], color='tab:orange', alpha=0.5)
    rate.set_ylabel('learning rate', color='tab:orange')
    rate.set_ylim(0, None)
    figure.savefig(out, dpi=120)
    return Path(out)
